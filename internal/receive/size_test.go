package receive_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"
	"testing/iotest"

	"contactmirror/internal/receive"
)

// sized is a signed delivery of size bytes.
func sized(size int) []byte {
	body := changed("Cust1")
	return append(body, bytes.Repeat([]byte(" "), size-len(body))...)
}

// A body is taken exactly when it has no more bytes than the limit, however its
// bytes arrive and whether its size was declared or not.
func TestReceiver_bodyLimit(t *testing.T) {
	t.Parallel()
	const smallBody = 16 << 10 // where the receiver takes more memory
	readers := map[string]func(io.Reader) io.Reader{
		"at once":                   func(r io.Reader) io.Reader { return r },
		"byte by byte":              iotest.OneByteReader,
		"in halves":                 iotest.HalfReader,
		"at once, with the end":     iotest.DataErrReader,
		"byte by byte, and the end": func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) },
	}
	for _, limit := range []int{1 << 10, smallBody - 1, smallBody, smallBody + 1, 2 * smallBody} {
		for _, size := range []int{limit - 1, limit, limit + 1, limit + 2, 3 * limit, smallBody - 1, smallBody, smallBody + 1, smallBody + 2} {
			body := sized(size)
			for name, read := range readers {
				for _, declared := range []int64{int64(size), -1} {
					k := &kept{}
					c := config(k)
					c.MaxBody = int64(limit)
					req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhook", read(bytes.NewReader(body)))
					req.ContentLength, req.Header = declared, signed(secret, body)
					answer := httptest.NewRecorder()
					receive.New(c).ServeHTTP(answer, req)
					want := http.StatusOK
					if size > limit {
						want = http.StatusRequestEntityTooLarge
					}
					all := k.all()
					if answer.Code != want || want == http.StatusOK && (len(all) != 1 || !bytes.Equal(all[0].Body, body)) || want != http.StatusOK && len(all) != 0 {
						t.Errorf("limit %d, %d bytes, declared %d, %s: answered %d with %d kept, want %d", limit, size, declared, name, answer.Code, len(all), want)
					}
				}
			}
		}
	}
}

// The same over a connection, in chunks of any size.
func TestReceiver_bodyLimitChunked(t *testing.T) {
	t.Parallel()
	const limit = 2 << 10
	for _, size := range []int{limit - 1, limit, limit + 1} {
		for _, chunk := range []int{1, 7, size - 1, size} {
			c := config(&kept{})
			c.MaxBody = limit
			address, _ := serve(t, c)
			body := sized(size)
			var request bytes.Buffer
			fmt.Fprintf(&request, "POST /webhook HTTP/1.1\r\nHost: x\r\n%s: %s\r\nTransfer-Encoding: chunked\r\n\r\n", "X-SuperOffice-Signature", signed(secret, body).Get("X-SuperOffice-Signature"))
			chunks := httputil.NewChunkedWriter(&request)
			for rest := body; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
				if _, err := chunks.Write(rest[:min(chunk, len(rest))]); err != nil {
					t.Fatal(err)
				}
			}
			if err := chunks.Close(); err != nil {
				t.Fatal(err)
			}
			request.WriteString("\r\n")
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := request.WriteTo(conn); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, answer)
			if (got.status == http.StatusOK) != (size <= limit) {
				t.Errorf("limit %d, %d bytes in chunks of %d: answered %d", limit, size, chunk, got.status)
			}
			_ = conn.Close()
		}
	}
}

// One byte-order mark is part of what is signed, and of what is kept.
func TestReceiver_keepsTheByteOrderMark(t *testing.T) {
	t.Parallel()
	for marks, want := range []string{"accepted", "accepted", "quarantined"} {
		k := &kept{}
		address, _ := serve(t, config(k))
		body := append(bytes.Repeat([]byte("\ufeff"), marks), changed("Cust1")...)
		got := do(t, address, "POST", "/webhook", signed(secret, body), body)
		if got.body != `{"result":"`+want+`"}` || !bytes.Equal(k.all()[0].Body, body) {
			t.Errorf("%d marks: %d %s, want %s", marks, got.status, got.body, want)
		}
		without := changed("Cust1")
		if got := do(t, address, "POST", "/webhook", signed(secret, without), body); marks > 0 && got.status != http.StatusUnauthorized {
			t.Errorf("%d marks that are not signed: %d %s", marks, got.status, got.body)
		}
	}
}

// A delivery whose tenant can't be read is kept without one, whoever signed it.
func TestReceiver_unreadableTenant(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`7`, `{}`, `"a\u0000"`, `"Own","ContextIdentifier":"Other"`} {
		for _, event := range []string{"contact.changed", "sale.created"} {
			for _, key := range []string{secret, ownSecret} {
				k := &kept{}
				address, _ := serve(t, config(k))
				body := fmt.Appendf(nil, `{"Event":%q,"ContextIdentifier":%s}`, event, value)
				got := do(t, address, "POST", "/webhook", signed(key, body), body)
				if got.body != `{"result":"quarantined"}` || k.all()[0].Tenant != nil || k.all()[0].Event != nil {
					t.Errorf("%s of tenant %s: %d %s, kept %+v", event, value, got.status, got.body, k.all())
				}
			}
		}
	}
}
