package receive_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"contactmirror/internal/inbox"
	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
)

// These tests run in a bubble of fake time, so the network must be in it too.

// pipes is a listener whose connections are pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func hangUp(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// piped runs a receiver in the bubble; stop ends it as Serve's context does.
func piped(c receive.Config, grace time.Duration) (p *pipes, r *receive.Receiver, stop func() error) {
	p = &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	r = receive.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, p, 0, grace) }()
	return p, r, func() error { cancel(); return <-ended }
}

// post is a request's head and as much of its body as is given.
func post(key string, whole []byte, part string) string {
	return fmt.Sprintf("POST /webhook HTTP/1.1\r\nHost: mirror\r\nX-SuperOffice-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
		signature.Sign(key, whole), len(whole), part)
}

func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _, stop := piped(config(&kept{}), 5*time.Second)
		conn := p.dial()
		start := time.Now()
		send(t, conn, "POST /webhook HTTP/1.1\r\nHost: mirror\r\n")
		if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
			t.Errorf("got %q, %v, want the connection closed", rest, err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("closed after %v, want 5s", took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r, stop := piped(config(&kept{}), 5*time.Second)
		conn := p.dial()
		start := time.Now()
		body := changed("Cust1")
		send(t, conn, "%s", post(secret, body, string(body[:10])))
		checkProblem(t, answerOn(t, bufio.NewReader(conn)), http.StatusRequestTimeout)
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("answered after %v, want 10s", took)
		}
		if r.Counts()[receive.Aborted] != 1 {
			t.Errorf("not counted: %v", r.Counts())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Each request announces more than it sends; the answer must not wait for it,
// and the connection is given up soon after.
func TestBodyUnread(t *testing.T) {
	t.Parallel()
	sig := "X-SuperOffice-Signature: " + signature.Sign(secret, nil) + "\r\n"
	tests := []struct {
		name, line, headers string
		status              int
	}{
		{"no signature", "POST /webhook", "Content-Length: 1000\r\n", 401},
		{"no signature, 100-continue", "POST /webhook", "Content-Length: 1000\r\nExpect: 100-continue\r\n", 401},
		{"no signature, chunked", "POST /webhook", "Transfer-Encoding: chunked\r\n", 401},
		{"no signature, over the limit", "POST /webhook", "Content-Length: 9223372036854775807\r\n", 401},
		{"over the limit", "POST /webhook", sig + "Content-Length: 65537\r\n", 413},
		{"far over the limit", "POST /webhook", sig + "Content-Length: 9223372036854775807\r\n", 413},
		{"method", "PUT /webhook", "Content-Length: 1000\r\n", 405},
		{"path", "POST /", "Content-Length: 1000\r\n", 404},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { bodyUnread(t, test.line, test.headers, test.status) })
		})
	}
}

func bodyUnread(t *testing.T, line, headers string, status int) {
	k := &kept{}
	p, _, stop := piped(config(k), 5*time.Second)
	conn := p.dial()
	start := time.Now()
	send(t, conn, "%s HTTP/1.1\r\nHost: mirror\r\n%s\r\n", line, headers)
	from := bufio.NewReader(conn)
	got := answerOn(t, from)
	checkProblem(t, got, status)
	if took := time.Since(start); took != 0 || got.header.Get("Connection") != "close" {
		t.Errorf("answered after %v, Connection: %s", took, got.header.Get("Connection"))
	}
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		t.Errorf("after the answer: %q, %v", rest, err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("closed after %v, want 1s or less", took)
	}
	if len(k.all()) != 0 {
		t.Error("something is kept")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestIdleConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _, stop := piped(config(&kept{}), 5*time.Second)
		conn := p.dial()
		body := changed("Cust1")
		send(t, conn, "%s", post(secret, body, string(body)))
		from := bufio.NewReader(conn)
		answerOn(t, from)
		start := time.Now()
		if _, err := from.ReadByte(); err != io.EOF {
			t.Errorf("got %v, want the connection closed", err)
		}
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("closed after %v, want 2m", took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A sender that leaves in the middle of its body is no error of ours.
func TestSenderLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		c := config(&kept{})
		c.Log = log.logger(slog.LevelInfo)
		p, r, stop := piped(c, 5*time.Second)
		conn := p.dial()
		body := changed("Cust1")
		send(t, conn, "%s", post(secret, body, string(body[:10])))
		hangUp(t, conn)
		synctest.Wait()
		if r.Counts()[receive.Aborted] != 1 || len(log.all()) != 0 {
			t.Errorf("counts %v, log %q", r.Counts(), log.all())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A sender that leaves while its delivery is being stored cancels nothing; what
// ends a Put is the deadline.
func TestSenderLeavesDuringPut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config(&kept{})
		c.PutTimeout = 3 * time.Second
		ended := make(chan error, 1)
		c.Put = func(ctx context.Context, _ inbox.Delivery) (inbox.Result, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return "", ctx.Err()
		}
		p, r, stop := piped(c, 5*time.Second)
		conn := p.dial()
		body := changed("Cust1")
		start := time.Now()
		send(t, conn, "%s", post(secret, body, string(body)))
		hangUp(t, conn)
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("Put ended after %v with %v, want the deadline after 3s", time.Since(start), err)
		}
		synctest.Wait()
		if r.Counts()[receive.Unavailable] != 1 {
			t.Errorf("not counted: %v", r.Counts())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Large bodies that never end hold their part of the memory; the next one is
// sent away after a second, and a small delivery is not touched.
func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := &kept{}
		c := config(k)
		c.MaxBody = 1 << 20
		p, r, stop := piped(c, 5*time.Second)
		large := make([]byte, 1<<20)
		begun := strings.Repeat(" ", 9<<10) // more than a small body
		var held []net.Conn
		for range 24 {
			conn := p.dial()
			send(t, conn, "%s", post(secret, large, begun))
			held = append(held, conn)
		}
		start := time.Now()
		late := p.dial()
		go fmt.Fprint(late, post(secret, large, begun))
		synctest.Wait()

		small := p.dial()
		body := changed("Cust1")
		send(t, small, "%s", post(secret, body, string(body)))
		if got := answerOn(t, bufio.NewReader(small)); got.status != 200 || time.Since(start) != 0 {
			t.Errorf("the small delivery got %d after %v", got.status, time.Since(start))
		}
		checkProblem(t, answerOn(t, bufio.NewReader(late)), http.StatusServiceUnavailable)
		if took := time.Since(start); took != time.Second || r.Counts()[receive.NoMemory] != 1 {
			t.Errorf("answered after %v, want 1s; counts %v", took, r.Counts())
		}
		for _, conn := range append(held, late, small) {
			hangUp(t, conn)
		}
		synctest.Wait()

		again := p.dial() // all memory is back
		body = append(body, large[:512<<10]...)
		send(t, again, "%s", post(secret, body, string(body)))
		if got := answerOn(t, bufio.NewReader(again)); got.status != 200 {
			t.Errorf("after the flood: got %d %s", got.status, got.body)
		}
		hangUp(t, again)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
