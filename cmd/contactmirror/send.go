package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"contactmirror/internal/accept"
	"contactmirror/internal/simulator"
	"contactmirror/internal/smallfile"
)

// sendCmd posts files as SuperOffice would.
type sendCmd struct {
	File     []string `arg:"" name:"file" help:"Files to send, a delivery's body each; - reads standard input."`
	To       string   `placeholder:"URL" help:"Where to post, the whole URL; default this machine's /webhook."`
	Secret   string   `placeholder:"SECRET" xor:"signing" help:"Secret to sign with; default $$CONTACTMIRROR_SECRET, else the generated one in the data directory. Arguments are visible to other users: use it for trying only."`
	Unsigned bool     `xor:"signing" help:"Send without a signature."`
	Attempts int      `default:"3" placeholder:"N" help:"How often to try, 1 to 3; default 3, as SuperOffice: at once, after 1 s, after 4 s more."`

	SecretFile string `group:"settings" setting:"CONTACTMIRROR_SECRET_FILE" placeholder:"PATH" help:"File that holds the secret."`
	DatabaseFlags
	ListenFlag
}

// delivery is one file to send.
type delivery struct {
	name string
	body []byte
}

// Run sends the files one after the other and prints a line for each. It
// returns errReported when one was answered anything but 200.
func (s *sendCmd) Run(ctx context.Context, call *invocation) error {
	if s.Attempts < 1 || s.Attempts > simulator.MaxAttempts {
		return misused("--attempts: %d: allowed: 1 to %d", s.Attempts, simulator.MaxAttempts)
	}
	config, err := call.config()
	if err != nil {
		return err
	}
	sender := simulator.Sender{Attempts: s.Attempts}
	if sender.URL, err = s.target(config); err != nil {
		return err
	}
	if sender.Secret, err = s.secret(config); err != nil {
		return err
	}
	deliveries, err := s.read(call.stdin)
	if err != nil {
		return err
	}
	return sendAll(ctx, call, sender, deliveries)
}

// target is the URL to post to.
func (s *sendCmd) target(config *Config) (string, error) {
	if s.To == "" {
		return localURL(config.Listen, "/webhook"), nil
	}
	u, err := url.Parse(s.To)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", misused("--to: %q: allowed: a whole URL such as http://127.0.0.1:8080/webhook", s.To)
	}
	return s.To, nil
}

// secret is what to sign with: of several that are live, the first. Empty means
// unsigned.
func (s *sendCmd) secret(config *Config) (string, error) {
	switch {
	case s.Unsigned:
		return "", nil
	case s.Secret != "":
		return s.Secret, nil
	case len(config.Secrets) > 0:
		return config.Secrets[0].Key, nil
	}
	secret, err := generatedSecret(config.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", misused("no secret to sign with: %s does not exist; set CONTACTMIRROR_SECRET, or give --secret or --unsigned", filepath.Join(config.DataDir, secretFile))
	}
	return secret, err
}

// read reads all files, so that a name mistyped sends nothing.
func (s *sendCmd) read(stdin io.Reader) ([]delivery, error) {
	const most = 2 * accept.MaxBody // no receiver takes that, but may be shown it
	deliveries := make([]delivery, len(s.File))
	for i, name := range s.File {
		d := delivery{name: name}
		var err error
		if name == "-" {
			d.name = "stdin"
			d.body, err = smallfile.ReadFrom(stdin, d.name, most)
		} else {
			d.body, err = smallfile.ReadUpTo(name, most)
		}
		if err != nil {
			return nil, misused("read a file to send: %w", err)
		}
		deliveries[i] = d
	}
	return deliveries, nil
}

func sendAll(ctx context.Context, call *invocation, sender simulator.Sender, deliveries []delivery) error {
	width := 0
	for _, d := range deliveries {
		width = max(width, len(d.name))
	}
	undelivered, refused := false, false
	for _, d := range deliveries {
		sender.OnFailure = func(a simulator.Attempt, next time.Duration) {
			fmt.Fprintf(call.stderr, "%s: %s %s; next attempt in %v\n", d.name, status(a), answer(a), next)
		}
		start := time.Now()
		attempts, err := sender.Send(ctx, d.body)
		if err != nil {
			return err
		}
		last := attempts[len(attempts)-1]
		fmt.Fprintf(call.stdout, "%-*s   %s   %-11s   %s\n", width, d.name, status(last), answer(last), took(start, len(attempts)))
		undelivered = undelivered || !last.Delivered()
		refused = refused || errors.Is(last.Err, syscall.ECONNREFUSED)
	}
	if refused {
		fmt.Fprintln(call.stderr, "contactmirror:", notRunning(sender.URL, errors.New("connection refused")))
	}
	if undelivered {
		return errReported
	}
	return nil
}

// notRunning adds to err, of a request to address, the question that most often
// settles it.
func notRunning(address string, err error) error {
	host := address
	if u, parseErr := url.Parse(address); parseErr == nil {
		host = u.Host
	}
	return fmt.Errorf("%w; is `contactmirror serve` running at %s?", err, host)
}

func status(a simulator.Attempt) string {
	if a.Status == 0 {
		return "---"
	}
	return strconv.Itoa(a.Status)
}

// answer is an attempt's answer in a few words: the receiver's result, or what
// its problem says, or the first line of whatever came.
func answer(a simulator.Attempt) string {
	if a.Err != nil {
		var request *url.Error
		if errors.As(a.Err, &request) {
			return request.Err.Error()
		}
		return a.Err.Error()
	}
	var said struct{ Result, Title, Detail string }
	if json.Unmarshal(a.Body, &said) == nil {
		for _, text := range []string{said.Result, said.Detail, said.Title} {
			if text != "" {
				return plain(text)
			}
		}
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(a.Body)), "\n")
	if line == "" {
		return http.StatusText(a.Status)
	}
	return plain(line)
}

func took(start time.Time, attempts int) string {
	text := time.Since(start).Round(100 * time.Microsecond).String()
	if attempts > 1 {
		text += fmt.Sprintf(", %d attempts", attempts)
	}
	return text
}
