package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// setTo returns where the setting called name has its value from, and which.
func setTo(t *testing.T, c *Config, name string) string {
	t.Helper()
	i := slices.IndexFunc(c.inForce, func(s inForce) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("%s is not in force", name)
	}
	s := c.inForce[i]
	if s.Value == nil {
		return s.Source + ": none"
	}
	return s.Source + ": " + *s.Value
}

func TestLoadConfigPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("postgres://in-file/db\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const name = "DATABASE_URL"
	flag := map[string]string{name: "postgres://in-flag/db"}
	fileFlag := map[string]string{name + "_FILE": file}
	env, fileEnv := name+"=postgres://in-env/db", name+"_FILE="+file
	cases := map[string]struct {
		flags map[string]string
		env   []string
		want  string
	}{
		"nothing":                    {nil, nil, "default: none"},
		"empty variable":             {nil, []string{name + "="}, "default: none"},
		"variable":                   {nil, []string{env}, "environment: postgres://in-env/db"},
		"file":                       {nil, []string{fileEnv}, "file: postgres://in-file/db"},
		"file over empty variable":   {nil, []string{name + "=", fileEnv}, "file: postgres://in-file/db"},
		"flag over variable":         {flag, []string{env}, "flag: postgres://in-flag/db"},
		"flag over file":             {flag, []string{fileEnv}, "flag: postgres://in-flag/db"},
		"file by flag over variable": {fileFlag, []string{env}, "file: postgres://in-file/db"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := loadConfig(c.flags, c.env)
			if err != nil {
				t.Fatal(err)
			}
			if got := setTo(t, config, "DATABASE_URL"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	secrets := filepath.Join(dir, "tenants.json")
	for path, content := range map[string]string{empty: "\n", secrets: `{"Cust1": [{"secret": ""}]}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		env  []string
		want []string // parts of the message
	}{
		"unknown":               {[]string{"CONTACTMIRROR_LISTEM=:1"}, []string{"CONTACTMIRROR_LISTEM", "did you mean CONTACTMIRROR_LISTEN?"}},
		"unknown, like nothing": {[]string{"CONTACTMIRROR_PORT=8080"}, []string{"CONTACTMIRROR_PORT", "there are: ", "CONTACTMIRROR_MAX_BODY"}},
		"both":                  {[]string{"CONTACTMIRROR_SECRET=a", "CONTACTMIRROR_SECRET_FILE=b"}, []string{"CONTACTMIRROR_SECRET and CONTACTMIRROR_SECRET_FILE"}},
		"no file":               {[]string{"DATABASE_URL_FILE=" + dir + "/none"}, []string{"DATABASE_URL_FILE", dir + "/none"}},
		"empty file":            {[]string{"CONTACTMIRROR_SECRET_FILE=" + empty}, []string{"CONTACTMIRROR_SECRET_FILE", "is empty"}},
		"address without port":  {[]string{"CONTACTMIRROR_LISTEN=8080"}, []string{"CONTACTMIRROR_LISTEN", `"8080"`, "HOST:PORT"}},
		"port too large":        {[]string{"CONTACTMIRROR_LISTEN=:65536"}, []string{"CONTACTMIRROR_LISTEN", "HOST:PORT"}},
		"size":                  {[]string{"CONTACTMIRROR_MAX_BODY=1 MB"}, []string{"CONTACTMIRROR_MAX_BODY", `"1 MB"`, "512KiB"}},
		"size of nothing":       {[]string{"CONTACTMIRROR_MAX_BODY=0"}, []string{"CONTACTMIRROR_MAX_BODY", "1KiB to 64MiB"}},
		"size beyond int64":     {[]string{"CONTACTMIRROR_MAX_BODY=9223372036854775807MiB"}, []string{"CONTACTMIRROR_MAX_BODY"}},
		"boolean":               {[]string{"CONTACTMIRROR_ALLOW_UNSIGNED=yes"}, []string{"CONTACTMIRROR_ALLOW_UNSIGNED", `"yes"`, "true or false"}},
		"format":                {[]string{"CONTACTMIRROR_LOG_FORMAT=xml"}, []string{"CONTACTMIRROR_LOG_FORMAT", "auto"}},
		"level":                 {[]string{"CONTACTMIRROR_LOG_LEVEL=loud"}, []string{"CONTACTMIRROR_LOG_LEVEL", "debug, info, warn or error"}},
		"blank secret":          {[]string{"CONTACTMIRROR_SECRET=\n\n"}, []string{"CONTACTMIRROR_SECRET", "no secret"}},
		"tenant secrets":        {[]string{"CONTACTMIRROR_TENANT_SECRETS_FILE=" + secrets}, []string{"CONTACTMIRROR_TENANT_SECRETS_FILE", secrets, "Cust1"}},
		"no tenant secrets":     {[]string{"CONTACTMIRROR_TENANT_SECRETS_FILE=" + dir + "/none"}, []string{"CONTACTMIRROR_TENANT_SECRETS_FILE", dir + "/none"}},
		"admin for all":         {[]string{"CONTACTMIRROR_ADMIN_LISTEN=:8081"}, []string{"CONTACTMIRROR_ADMIN_LISTEN", "CONTACTMIRROR_ADMIN_TOKEN"}},
		"admin by name":         {[]string{"CONTACTMIRROR_ADMIN_LISTEN=admin.example:8081"}, []string{"CONTACTMIRROR_ADMIN_TOKEN"}},
		"one address for both":  {[]string{"CONTACTMIRROR_ADMIN_LISTEN=127.0.0.1:8080"}, []string{"CONTACTMIRROR_ADMIN_LISTEN", "CONTACTMIRROR_LISTEN"}},
		"migrate URL alone":     {[]string{"CONTACTMIRROR_MIGRATE_URL=postgres://h/db"}, []string{"CONTACTMIRROR_MIGRATE_URL", "DATABASE_URL"}},
		"pool setting":          {[]string{"DATABASE_URL=postgres://h/db?pool_max_conns=many"}, []string{"DATABASE_URL"}},
		"session attributes":    {[]string{"DATABASE_URL=postgres://h/db?target_session_attrs=rw"}, []string{"DATABASE_URL", "target_session_attrs"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := loadConfig(nil, c.env)
			if err == nil {
				t.Fatal("got no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want %q in it", err, part)
				}
			}
		})
	}
}

func TestLoadConfigErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	for _, env := range []string{
		"DATABASE_URL=postgres://u:hunter2%zz@h/db",
		"DATABASE_URL=postgres://u:hunter2/x@h/db",
		"DATABASE_URL=postgres://u:12:hunter2@h:x/db",
		"DATABASE_URL=postgres://u:hunter2@h:port/db",
		"DATABASE_URL=postgres://u@h/db?password=hunter2&sslmode=maybe",
		"DATABASE_URL=mysql://u:hunter2@h/db",
		"DATABASE_URL=host=h password=my hunter2",
		"DATABASE_URL=host=h password='hunter2",
		"DATABASE_URL=host=h password=hunter2 connect_timeout=soon",
		"CONTACTMIRROR_ADMIN_TOKEN=hunter2\nhunter2",
		"CONTACTMIRROR_SECRET=good\nhunter2\x00",
	} {
		if _, err := loadConfig(nil, []string{env}); err == nil {
			t.Errorf("%q: got no error", env)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %q, want no secret in it", env, err)
		}
	}
}

func TestLoadConfigValues(t *testing.T) {
	t.Parallel()
	config, err := loadConfig(nil, []string{
		"DATABASE_URL=postgres://h/db",
		"CONTACTMIRROR_SECRET=old\r\nnew\n",
		"CONTACTMIRROR_MAX_BODY=512KiB",
		"CONTACTMIRROR_ADMIN_LISTEN=off",
		"CONTACTMIRROR_LOG_LEVEL=warn",
		"CONTACTMIRROR_ALLOW_UNSIGNED=true",
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(config.Secrets))
	for i, s := range config.Secrets {
		keys[i] = s.Key
	}
	got := []any{config.MigrateURL, config.Listen, config.AdminListen, keys, config.MaxBody, config.LogLevel.String(), config.AllowUnsigned}
	want := []any{"postgres://h/db", ":8080", "", []string{"old", "new"}, int64(512 << 10), "WARN", true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got, want := setTo(t, config, "CONTACTMIRROR_SECRET"), "environment: *** (2 secrets)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Kubernetes sets these in a pod beside Services called contactmirror and
// contactmirror-admin.
func TestLoadConfigIgnoresServiceLinks(t *testing.T) {
	t.Parallel()
	_, err := loadConfig(nil, []string{
		"CONTACTMIRROR_SERVICE_HOST=10.0.0.11",
		"CONTACTMIRROR_SERVICE_PORT=8080",
		"CONTACTMIRROR_SERVICE_PORT_HTTP=8080",
		"CONTACTMIRROR_PORT=tcp://10.0.0.11:8080",
		"CONTACTMIRROR_PORT_8080_TCP=tcp://10.0.0.11:8080",
		"CONTACTMIRROR_PORT_8080_TCP_PROTO=tcp",
		"CONTACTMIRROR_PORT_8080_TCP_PORT=8080",
		"CONTACTMIRROR_PORT_8080_TCP_ADDR=10.0.0.11",
		"CONTACTMIRROR_ADMIN_SERVICE_HOST=10.0.0.12",
		"CONTACTMIRROR_ADMIN_PORT=tcp://10.0.0.12:8081",
	})
	if err != nil {
		t.Error(err)
	}
}

// Every flag that stands for a setting is called like it.
func TestFlagsMatchSettings(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, s := range settings {
		known[s.name] = true
		if s.twin {
			known[s.name+"_FILE"] = true
		}
	}
	var helped bool
	parser := newParser(&invocation{stdout: os.Stdout, stderr: os.Stderr}, &helped)
	err := kong.Visit(parser.Model, func(v kong.Visitable, next kong.Next) error {
		if flag, ok := v.(*kong.Flag); ok {
			if name := flag.Tag.Get("setting"); name != "" {
				if !known[name] {
					t.Errorf("--%s: no setting %s", flag.Name, name)
				}
				if got, want := "--"+flag.Name, flagName(name); got != want {
					t.Errorf("flag of %s: got %s, want %s", name, got, want)
				}
			}
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLocalURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		":8080":              "http://127.0.0.1:8080/readyz",
		"0.0.0.0:8080":       "http://127.0.0.1:8080/readyz",
		"[::]:8080":          "http://127.0.0.1:8080/readyz",
		"[::ffff:0.0.0.0]:1": "http://127.0.0.1:1/readyz",
		"192.0.2.7:80":       "http://192.0.2.7:80/readyz",
		"mirror.example:80":  "http://mirror.example:80/readyz",
	} {
		if got := localURL(address, "/readyz"); got != want {
			t.Errorf("localURL(%q): got %s, want %s", address, got, want)
		}
	}
}
