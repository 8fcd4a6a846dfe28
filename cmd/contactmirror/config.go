package main

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sort"
	"strings"

	"contactmirror/internal/chain"
	"contactmirror/internal/retention"
	"contactmirror/internal/signature"
	"contactmirror/internal/smallfile"
)

// Config is every setting in force, validated. Packages are handed values from
// it; none reads flags or the environment.
type Config struct {
	DatabaseURL string // empty: the embedded PostgreSQL in DataDir
	DataDir     string
	MigrateURL  string // empty only where DatabaseURL is

	Listen      string
	AdminListen string // empty: off
	AdminToken  string

	Secrets       []signature.Secret            // for every tenant without its own; may be empty
	TenantSecrets map[string][]signature.Secret // may be nil
	AllowUnsigned bool
	MaxBody       int64 // bytes
	SpoolLimit    int64 // bytes
	Retention     retention.Keep

	AuditKeys chain.Keys // none: the audit log is chained without one

	LogFormat string // auto, text or json
	LogLevel  slog.Level

	inForce []inForce // one per setting, in the order of settings
}

// Embedded reports whether the database is the private one in DataDir.
func (c *Config) Embedded() bool { return c.DatabaseURL == "" }

// inForce tells a setting's value, ready to be shown, and where it came from.
type inForce struct {
	Name   string  `json:"name"`
	Value  *string `json:"value"`  // nil where there is none
	Source string  `json:"source"` // flag, environment, file or default
	From   string  `json:"from,omitempty"`
	Note   string  `json:"note,omitempty"` // what having no value means
}

// loadConfig builds the settings in force: flags override the environment,
// which overrides the defaults. An unknown variable of our prefix, a value that
// is not allowed, and settings that contradict one another are errors that name
// the setting; no error shows a secret.
func loadConfig(flags map[string]string, environ []string) (*Config, error) {
	env := environment(environ)
	if err := refuseUnknown(env); err != nil {
		return nil, err
	}
	c := &Config{}
	for _, s := range settings {
		found, err := s.find(flags, env)
		if err != nil {
			return nil, err
		}
		if found.source == fromDefault && s.fallback != nil {
			found.value = s.fallback(c)
		}
		if err := s.apply(c, found); err != nil {
			return nil, err
		}
	}
	return c, c.consistent()
}

// consistent checks what concerns more than one setting.
func (c *Config) consistent() error {
	if c.AdminListen != "" && !loopback(c.AdminListen) && c.AdminToken == "" {
		return fmt.Errorf("CONTACTMIRROR_ADMIN_LISTEN: %s is reachable from other machines, so CONTACTMIRROR_ADMIN_TOKEN must be set; or listen on 127.0.0.1, or set it to off", c.AdminListen)
	}
	if c.AdminListen != "" && c.AdminListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		return fmt.Errorf("CONTACTMIRROR_ADMIN_LISTEN: %s is the address of CONTACTMIRROR_LISTEN too", c.Listen)
	}
	return nil
}

// environment indexes environ. An empty variable counts as not set, as
// composed deployments can often not leave one out.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, line := range environ {
		if name, value, _ := strings.Cut(line, "="); value != "" {
			env[name] = value
		}
	}
	return env
}

const prefix = "CONTACTMIRROR_"

// serviceLink matches the variables that Kubernetes puts into every pod beside
// a Service called contactmirror or contactmirror-…; nobody typed them, and
// they must not keep the receiver from starting.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST=|_SERVICE_PORT(_[A-Z0-9_]+)?=|_PORT=(tcp|udp|sctp)://|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?=`)

func refuseUnknown(env map[string]string) error {
	known := map[string]bool{}
	for _, s := range settings {
		known[s.name] = true
		if s.twin {
			known[s.name+"_FILE"] = true
		}
	}
	var unknown []string
	for name, value := range env {
		if strings.HasPrefix(name, prefix) && !known[name] && !serviceLink.MatchString(name+"="+value) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	sort.Strings(unknown)
	return fmt.Errorf("%s: no such setting%s", unknown[0], suggest(unknown[0], known))
}

// suggest names the known setting that name was most likely meant to be, or
// all of them.
func suggest(name string, known map[string]bool) string {
	all := make([]string, 0, len(known))
	for k := range known {
		all = append(all, k)
	}
	sort.Strings(all)
	best, least := "", 4
	for _, k := range all {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return "; there are: " + strings.Join(all, ", ")
}

// distance counts the letters to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Where a value came from.
const (
	fromFlag    = "flag"
	fromEnv     = "environment"
	fromFile    = "file"
	fromDefault = "default"
)

// found is the text of a setting and where it was found.
type found struct {
	value  string // empty only from the default
	source string
	from   string // the flag, variable or file
}

// find looks s up among the flags, then in the environment. Within one of them
// a value and its _FILE twin exclude one another.
func (s setting) find(flags, env map[string]string) (found, error) {
	twin := s.name + "_FILE"
	for _, name := range []string{s.name, twin} {
		if value, given := flags[name]; given && value == "" {
			return found{}, fmt.Errorf("%s: the value is empty", flagName(name))
		}
	}
	layers := []struct {
		values map[string]string
		source string
		label  func(string) string
	}{
		{flags, fromFlag, flagName},
		{env, fromEnv, func(name string) string { return name }},
	}
	for _, layer := range layers {
		value, path := layer.values[s.name], ""
		if s.twin {
			path = layer.values[twin]
		}
		switch {
		case value != "" && path != "":
			return found{}, fmt.Errorf("%s and %s are both set; only one of them may be", layer.label(s.name), layer.label(twin))
		case value != "":
			return found{value, layer.source, layer.label(s.name)}, nil
		case path != "":
			return readTwin(layer.label(twin), path)
		}
	}
	return found{source: fromDefault}, nil
}

// readTwin reads a setting's value from the file that label, its _FILE twin,
// names.
func readTwin(label, path string) (found, error) {
	content, err := smallfile.Read(path)
	if err != nil {
		return found{}, fmt.Errorf("%s: %w", label, err)
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return found{}, fmt.Errorf("%s: %s is empty", label, path)
	}
	return found{value, fromFile, path}, nil
}

// apply puts what was found into c.
func (s setting) apply(c *Config, f found) error {
	row := inForce{Name: s.name, Source: f.source, From: f.from}
	if f.value == "" {
		if s.absent != nil {
			row.Note = s.absent(c)
		}
		c.inForce = append(c.inForce, row)
		return nil
	}
	if err := s.set(c, f.value); err != nil {
		return s.refuse(f, err)
	}
	shown := f.value
	if s.show != nil {
		shown = s.show(f.value)
	}
	row.Value = &shown
	c.inForce = append(c.inForce, row)
	return nil
}

// errNotAllowed is a set function's answer where the setting's allowed text
// says all there is to say.
var errNotAllowed = errors.New("not allowed")

func (s setting) refuse(f found, reason error) error {
	label := s.name
	switch f.source {
	case fromFlag:
		label = f.from
	case fromFile:
		label = fmt.Sprintf("%s_FILE (%s)", s.name, f.from)
	}
	if s.show == nil { // else the value is a secret, and masking a malformed one is guesswork
		label = fmt.Sprintf("%s: %q", label, f.value)
	}
	return fmt.Errorf("%s: %w; allowed: %s", label, reason, s.allowed)
}

// flagName is the flag of the setting called name.
func flagName(name string) string {
	return "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", "-"))
}
