//go:build linux

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// bouncer is a PgBouncer in transaction mode.
type bouncer struct {
	*process
	lab    *lab
	config string
	port   int
	binary string
}

// bouncer starts one in front of the server s.
func (l *lab) bouncer(s *server) *bouncer {
	l.Helper()
	dir := l.mkdir("bouncer")
	b := &bouncer{
		lab: l, port: l.freePort(), binary: needs(l.T, "pgbouncer", "pgbouncer"),
		config: filepath.Join(dir, "pgbouncer.ini"),
	}
	users := filepath.Join(dir, "users")
	l.write(users, fmt.Sprintf("%q \"\"\n", role))
	l.write(b.config, fmt.Sprintf(`[databases]
%s = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
max_client_conn = 200
default_pool_size = 8
server_login_retry = 1
`, mirrorBase, s.port, b.port, users))
	b.start()
	return b
}

// write writes a file that PostgreSQL's user owns.
func (l *lab) write(path, text string) {
	l.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.Fatal(err)
	}
	l.give(path)
}

func (b *bouncer) start() {
	b.lab.Helper()
	b.process = b.lab.launch("pgbouncer", b.lab.asServer(b.binary, b.config), syscall.SIGKILL)
	b.lab.await("PgBouncer answers", patience, func() bool {
		if !b.alive() {
			b.lab.Fatalf("PgBouncer has ended:\n%s", b.tail())
		}
		conn, err := pgx.Connect(context.Background(), mirrorURL("&default_query_exec_mode=exec", b.port))
		if err != nil {
			return false
		}
		_ = conn.Close(context.Background())
		return true
	})
}
