//go:build linux

package faults

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const secret = "a secret that only the suite knows"

// service is one contactmirror serve.
type service struct {
	*process
	lab     *lab
	name    string
	url     string // of the database
	dataDir string
	address string
	args    []string
	env     []string
}

// contactmirror prepares a call of the binary under test.
func (l *lab) contactmirror(databaseURL string, args ...string) *exec.Cmd {
	cmd := command(suite.binary(), args...)
	cmd.Env = append(cmd.Env,
		"DATABASE_URL="+databaseURL,
		"CONTACTMIRROR_SECRET="+secret,
		"CONTACTMIRROR_ADMIN_LISTEN=off",
		"CONTACTMIRROR_LOG_FORMAT=text",
	)
	return cmd
}

// serve starts a service and waits until it is ready. It has a data directory
// and an address of its own, which it keeps when started again.
func (l *lab) serve(name, databaseURL string, args ...string) *service {
	l.Helper()
	s := l.newService(name, databaseURL, args...)
	s.start()
	return s
}

func (l *lab) newService(name, databaseURL string, args ...string) *service {
	return &service{
		lab: l, name: name, url: databaseURL, args: args,
		dataDir: filepath.Join(l.dir, name+"-data"), address: at(l.freePort()),
	}
}

func (s *service) start() {
	s.lab.Helper()
	s.launch()
	s.ready()
}

func (s *service) launch() {
	s.lab.Helper()
	cmd := s.lab.contactmirror(s.url, append([]string{"serve"}, s.args...)...)
	cmd.Env = append(cmd.Env, "CONTACTMIRROR_LISTEN="+s.address, "CONTACTMIRROR_DATA_DIR="+s.dataDir)
	cmd.Env = append(cmd.Env, s.env...)
	s.process = s.lab.launch(s.name, cmd, syscall.SIGKILL)
}

// ready waits until a delivery can be made durable.
func (s *service) ready() {
	s.lab.Helper()
	s.lab.await(s.name+" is ready", patience, func() bool {
		if !s.alive() {
			s.lab.Fatalf("%s has ended: %v\n%s", s.name, s.cmd.ProcessState, s.tail())
		}
		return s.isReady()
	})
}

// stopTime is how long a supervisor waits between SIGTERM and SIGKILL.
const stopTime = 10 * time.Second

// terminate stops the service as a supervisor does.
func (s *service) terminate() {
	s.lab.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTime):
		s.signal(syscall.SIGABRT) // tells what it is doing
		<-s.ended
		s.lab.Fatalf("%s did not end within %s of SIGTERM:\n%s", s.name, stopTime, s.output())
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.lab.Errorf("%s ended with code %d after SIGTERM, want 0", s.name, code)
	}
}

func (s *service) webhook() string { return "http://" + s.address + "/webhook" }

var prober = &http.Client{Timeout: time.Second}

// isReady reports whether GET /readyz is answered 200.
func (s *service) isReady() bool {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.address+"/readyz", http.NoBody)
	if err != nil {
		panic(err) // the address is one
	}
	response, err := prober.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// spooled is how many segments the spool has on disk.
func (s *service) spooled() int {
	s.lab.Helper()
	segments, err := filepath.Glob(filepath.Join(s.dataDir, "spool", "*.spool"))
	if err != nil {
		s.lab.Fatal(err)
	}
	return len(segments)
}
