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

// Bodies that never end hold what memory they can. However many connections they
// have, a delivery of up to 16 KiB needs not wait. A larger one that finds none is
// sent away after a second, and all of it is back once they have gone.
func TestReceiver_memory(t *testing.T) {
	t.Parallel()
	for _, others := range []int{30, 1000} {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { memory(t, others) })
		})
	}
}

func memory(t *testing.T, others int) {
	const small = 16 << 10
	k := &kept{}
	c := config(k)
	c.MaxBody = 1 << 20
	p, r, stop := piped(c, 5*time.Second)
	large := make([]byte, 1<<20)
	var held []net.Conn
	for range others {
		conn := p.dial()
		go fmt.Fprint(conn, post("a stranger's", large, strings.Repeat(" ", small+1)))
		held = append(held, conn)
	}
	synctest.Wait()
	start := time.Now()
	for _, size := range []int{len(changed("Cust1")), 10_000, small} {
		conn := p.dial()
		body := sized(size)
		go fmt.Fprint(conn, post(secret, body, string(body)))
		if got := answerOn(t, bufio.NewReader(conn)); got.status != http.StatusOK || time.Since(start) != 0 {
			t.Errorf("%d bytes: %d %s after %v", size, got.status, got.body, time.Since(start))
		}
		hangUp(t, conn)
	}
	for _, conn := range held {
		go func() { _, _ = io.Copy(io.Discard, conn) }() // the answer, or the end
	}
	time.Sleep(2 * time.Second) // of the bubble's
	if waited := others - 16; r.Counts()[receive.NoMemory] != uint64(waited) {
		t.Errorf("%d were sent away, want %d", r.Counts()[receive.NoMemory], waited)
	}
	for _, conn := range held {
		hangUp(t, conn)
	}
	synctest.Wait()
	conn := p.dial()
	body := sized(512 << 10)
	go fmt.Fprint(conn, post(secret, body, string(body)))
	if got := answerOn(t, bufio.NewReader(conn)); got.status != http.StatusOK {
		t.Errorf("once they have gone: %d %s", got.status, got.body)
	}
	hangUp(t, conn)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// What can't be anybody's signature is refused before anything of the body is read,
// or memory is taken for it.
func TestReceiver_malformedSignatureHoldsNothing(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{false, true} {
		for _, sent := range []string{"x", "sha256=x", strings.Repeat("=", 44), strings.Repeat("A", 44), strings.Repeat("A", 30<<10)} {
			synctest.Test(t, func(t *testing.T) { malformedSignature(t, allowed, sent) })
		}
	}
}

func malformedSignature(t *testing.T, unsignedAllowed bool, sent string) {
	c := config(&kept{})
	c.AllowUnsigned = unsignedAllowed
	p, r, stop := piped(c, 5*time.Second)
	start := time.Now()
	conn := p.dial()
	send(t, conn, "POST /webhook HTTP/1.1\r\nHost: mirror\r\nX-SuperOffice-Signature: %s\r\nContent-Length: 1000\r\n\r\n", sent)
	checkProblem(t, answerOn(t, bufio.NewReader(conn)), http.StatusUnauthorized)
	if took := time.Since(start); took != 0 || r.Counts()[receive.MalformedSignature] != 1 {
		t.Errorf("%.10q: answered after %v, counts %v", sent, took, r.Counts())
	}
	hangUp(t, conn)
	if err := stop(); err != nil {
		t.Error(err)
	}
}
