package receive_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
)

// dial opens a connection on which nothing is waited for longer than the test
// could bear.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(t, conn) })
	if err := conn.SetDeadline(time.Now().Add(8 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func send(t *testing.T, w io.Writer, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		t.Fatal(err)
	}
}

func answerOn(t *testing.T, from *bufio.Reader) reply {
	t.Helper()
	res, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, res)
	if res.Close {
		got.header.Set("Connection", "close")
	}
	return got
}

// A body that is wrongly signed but read leaves the connection usable.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, config(&kept{}))
	conn := dial(t, address)
	from := bufio.NewReader(conn)
	body := changed("Cust1")
	for _, key := range []string{"guessed", secret, "guessed", secret} {
		send(t, conn, "POST /webhook HTTP/1.1\r\nHost: mirror\r\nx-superoffice-signature: %s\r\nContent-Length: %d\r\n\r\n%s",
			signature.Sign(key, body), len(body), body)
		if got, want := answerOn(t, from).status, map[string]int{secret: 200, "guessed": 401}[key]; got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

func TestChunked(t *testing.T) {
	t.Parallel()
	k := &kept{}
	address, r := serve(t, config(k))
	body := changed("Cust1")
	head := "POST /webhook HTTP/1.1\r\nHost: mirror\r\nTransfer-Encoding: chunked\r\n" +
		"X-SuperOffice-Signature: " + signature.Sign(secret, body) + "\r\n\r\n"

	t.Run("in single bytes", func(t *testing.T) {
		conn := dial(t, address)
		text := head
		for _, b := range body {
			text += fmt.Sprintf("1\r\n%c\r\n", b)
		}
		send(t, conn, "%s0\r\n\r\n", text)
		if got := answerOn(t, bufio.NewReader(conn)); got.body != `{"result":"accepted"}` {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
	t.Run("without end", func(t *testing.T) {
		conn := dial(t, address)
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 1000, strings.Repeat(" ", 1000))
		// 66,000 bytes, and a connection that could go on.
		send(t, conn, "%s%s", head, strings.Repeat(chunk, 66))
		got := answerOn(t, bufio.NewReader(conn))
		checkProblem(t, got, http.StatusRequestEntityTooLarge)
		if r.Counts()[receive.TooLarge] != 1 {
			t.Errorf("not counted: %v", r.Counts())
		}
	})
	t.Run("broken", func(t *testing.T) {
		conn := dial(t, address)
		send(t, conn, "%szz\r\n", head)
		checkProblem(t, answerOn(t, bufio.NewReader(conn)), http.StatusBadRequest)
	})
	if len(k.all()) != 1 {
		t.Errorf("%d deliveries are kept, want 1", len(k.all()))
	}
}

func TestWrongContentLength(t *testing.T) {
	t.Parallel()
	k := &kept{}
	address, r := serve(t, config(k))
	body := changed("Cust1")
	post := func(length string) *net.TCPConn {
		conn := dial(t, address)
		send(t, conn, "POST /webhook HTTP/1.1\r\nHost: mirror\r\nX-SuperOffice-Signature: %s\r\n%s\r\n%s",
			signature.Sign(secret, body), length, body)
		return conn
	}
	long := post(fmt.Sprintf("Content-Length: %d\r\n", len(body)+100))
	if err := long.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	checkProblem(t, answerOn(t, bufio.NewReader(long)), http.StatusBadRequest)
	if r.Counts()[receive.Aborted] != 1 {
		t.Errorf("not counted: %v", r.Counts())
	}
	short := post(fmt.Sprintf("Content-Length: %d\r\n", len(body)-1))
	checkProblem(t, answerOn(t, bufio.NewReader(short)), http.StatusUnauthorized)

	none := post("")
	checkProblem(t, answerOn(t, bufio.NewReader(none)), http.StatusUnauthorized)

	// net/http refuses these before the receiver sees them, and must.
	for _, length := range []string{
		"Content-Length: x\r\n", "Content-Length: -1\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n",
		"Transfer-Encoding: gzip\r\n",
	} {
		if got := answerOn(t, bufio.NewReader(post(length))); got.status/100 == 2 || got.status == 410 || got.status == 429 {
			t.Errorf("%q: got %d", length, got.status)
		}
	}
	if len(k.all()) != 0 {
		t.Error("something is kept")
	}
}

func TestHeadersTooLarge(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, config(&kept{}))
	conn := dial(t, address)
	// Exactly what net/http reads before it gives up: bytes left unread would make
	// the kernel reset the connection, and the answer might be lost.
	const most = 32<<10 + 4<<10
	begin := "POST /webhook HTTP/1.1\r\nHost: mirror\r\nX-Large: "
	_, err := fmt.Fprint(conn, begin, strings.Repeat("x", most-len(begin)))
	if err != nil {
		t.Fatal(err)
	}
	if got := answerOn(t, bufio.NewReader(conn)); got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", got.status)
	}
}

func TestOptionsStar(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, config(&kept{}))
	conn := dial(t, address)
	send(t, conn, "OPTIONS * HTTP/1.1\r\nHost: mirror\r\n\r\n")
	checkProblem(t, answerOn(t, bufio.NewReader(conn)), http.StatusNotFound)
}

// A large unsigned body that is sent all the same costs neither memory nor the
// answer.
func TestUnsignedLargeBody(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, config(&kept{}))
	conn := dial(t, address)
	go func() {
		const size = 1 << 20
		fmt.Fprintf(conn, "POST /webhook HTTP/1.1\r\nHost: mirror\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat(" ", size))
	}()
	from := bufio.NewReader(conn)
	checkProblem(t, answerOn(t, from), http.StatusUnauthorized)
	if _, err := io.Copy(io.Discard, from); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}
