//go:build linux

package faults

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The superuser with whom tests arrange, break and look, and the role and
// database of the mirror, which has no rights beyond its own tables: reserved
// connections are not for it.
const (
	admin      = "postgres"
	role       = "mirror"
	mirrorBase = "mirror"
)

type settings map[string]string

// server is one PostgreSQL.
type server struct {
	*process
	lab      *lab
	name     string
	data     string
	port     int
	settings settings
	env      []string
}

// pgbin is the newest installed PostgreSQL.
func pgbin(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.Sort(found)
	if len(found) > 0 {
		return found[len(found)-1]
	}
	return filepath.Dir(needs(t, "initdb", "postgresql"))
}

var template struct {
	sync.Once
	made bool
}

// postgres starts a server with the mirror's schema in it, a copy of one that is
// made once.
func (l *lab) postgres(name string, with settings) *server {
	l.Helper()
	s := l.copyTemplate(name, with)
	s.start()
	return s
}

// copyTemplate prepares a server that has not been started yet.
func (l *lab) copyTemplate(name string, with settings) *server {
	l.Helper()
	s := l.newServer(name, with)
	l.fillFromTemplate(s)
	return s
}

// fillFromTemplate copies the template to the directory of s.
func (l *lab) fillFromTemplate(s *server) {
	l.Helper()
	bin := pgbin(l.T) // skips the test, and not within Do
	template.Do(func() { l.makeTemplate(bin) })
	if !template.made {
		l.Fatal("the template of all clusters could not be made")
	}
	l.run(l.asServer("cp", "-a", "--reflink=auto", templateDir()+"/.", s.data))
}

func (l *lab) newServer(name string, with settings) *server {
	return &server{lab: l, name: name, data: l.mkdir(name), port: l.freePort(), settings: with}
}

func templateDir() string { return filepath.Join(suite.dir, "template") }

func (l *lab) makeTemplate(bin string) {
	l.Helper()
	if err := os.Mkdir(templateDir(), 0o700); err != nil {
		l.Fatal(err)
	}
	l.give(templateDir())
	l.run(l.asServer(filepath.Join(bin, "initdb"), "--pgdata="+templateDir(), "--username="+admin, "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--data-checksums", "--no-sync"))
	s := &server{lab: l, name: "template", data: templateDir(), port: l.freePort()}
	s.start()
	s.exec("create role " + role + " login")
	s.exec("create database " + mirrorBase + " owner " + role)
	l.run(l.contactmirror(s.url(""), "migrate", "up"))
	s.end(syscall.SIGINT)
	template.made = true
}

// start starts the server, again at the port it had, and waits until it answers.
// What a killed postmaster has left behind may take a moment to go.
func (s *server) start() {
	s.lab.Helper()
	s.launch()
	s.lab.await(s.name+" answers", patience, func() bool {
		if !s.alive() {
			s.launch()
		}
		return s.answers()
	})
}

func (s *server) launch() {
	s.lab.Helper()
	args := []string{
		"-D", s.data, "-c", "listen_addresses=127.0.0.1", "-c", fmt.Sprintf("port=%d", s.port),
		"-c", "unix_socket_directories=", "-c", "wal_level=replica", "-c", "logging_collector=off",
		"-c", "shared_buffers=32MB", "-c", "max_connections=60", "-c", "superuser_reserved_connections=10",
	}
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		args = append(args, "-c", name+"="+s.settings[name])
	}
	cmd := s.lab.asServer(filepath.Join(pgbin(s.lab.T), "postgres"), args...)
	cmd.Env = append(cmd.Env, s.env...)
	s.process = s.lab.launch(s.name, cmd, syscall.SIGQUIT)
	p := s.process
	s.lab.Cleanup(func() {
		p.signalAll(syscall.SIGCONT)
		p.end(syscall.SIGQUIT) // takes its backends along
	})
}

func (s *server) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.adminURL())
	if err != nil {
		return false
	}
	_ = conn.Close(ctx)
	return true
}

// url is the mirror's way in; more is added to the query.
func (s *server) url(more string) string { return mirrorURL(more, s.port) }

// mirrorURL names several servers, of which the one that can be written to
// counts.
func mirrorURL(more string, ports ...int) string {
	hosts := make([]string, len(ports))
	for i, port := range ports {
		hosts[i] = at(port)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable%s", role, strings.Join(hosts, ","), mirrorBase, more)
}

func (s *server) adminURL() string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", admin, at(s.port), s.database())
}

func (s *server) database() string {
	if s.data == templateDir() {
		return "postgres"
	}
	return mirrorBase
}

// connect is the superuser's connection, until the test ends.
func (s *server) connect() *pgx.Conn {
	s.lab.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.adminURL())
	if err != nil {
		s.lab.Fatalf("connect to %s: %v", s.name, err)
	}
	s.lab.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// exec runs statements as the superuser, each in a transaction of its own.
func (s *server) exec(statements ...string) {
	s.lab.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.adminURL())
	if err != nil {
		s.lab.Fatalf("connect to %s: %v", s.name, err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the statements are through
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			s.lab.Fatalf("%s: %v", statement, err)
		}
	}
}

// set changes a setting of the running server.
func (s *server) set(name, value string) {
	s.lab.Helper()
	s.exec("alter system set "+name+" = '"+value+"'", "select pg_reload_conf()")
}

// reset takes the change back.
func (s *server) reset(name string) {
	s.lab.Helper()
	s.exec("alter system reset "+name, "select pg_reload_conf()")
}

// ask returns the one value that a query gives.
func ask[T any](s *server, query string, args ...any) (value T) {
	s.lab.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.adminURL())
	if err != nil {
		s.lab.Fatalf("connect to %s: %v", s.name, err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the query is through
	if err := conn.QueryRow(ctx, query, args...).Scan(&value); err != nil {
		s.lab.Fatalf("%s: %v", query, err)
	}
	return value
}

// standby starts a streaming replica of s, which reaches it at port.
func (s *server) standby(port int) *server {
	s.lab.Helper()
	r := s.lab.newServer("standby", s.settings)
	source := fmt.Sprintf("host=127.0.0.1 port=%d user=%s application_name=standby", port, admin)
	s.lab.run(s.lab.asServer(filepath.Join(pgbin(s.lab.T), "pg_basebackup"),
		"--pgdata="+r.data, "--dbname="+source, "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync"))
	r.start()
	s.lab.await("the standby streams", patience, func() bool {
		return ask[bool](s, "select exists (select from pg_stat_replication where state = 'streaming')")
	})
	return r
}

// synchronous makes commits of s wait for its standby.
func (s *server) synchronous() {
	s.lab.Helper()
	s.set("synchronous_standby_names", "standby")
	s.lab.await("the standby is synchronous", patience, func() bool {
		return ask[bool](s, "select exists (select from pg_stat_replication where sync_state = 'sync')")
	})
}

// promote makes a standby the primary.
func (s *server) promote() {
	s.lab.Helper()
	if !ask[bool](s, "select pg_promote(true, 30)") {
		s.lab.Fatal("the standby was not promoted")
	}
}
