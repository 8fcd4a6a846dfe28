package receive_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"contactmirror/internal/inbox"
	"contactmirror/internal/receive"
)

// A delivery under way when the service stops is still answered.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{4 * time.Second, 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			const grace = 5 * time.Second
			c := config(&kept{})
			c.PutTimeout = time.Minute
			committed := make(chan struct{})
			c.Put = func(context.Context, inbox.Delivery) (inbox.Result, error) {
				defer close(committed)
				<-time.After(takes)
				return inbox.Accepted, nil
			}
			p, _, stop := piped(c, grace)
			conn := p.dial()
			body := changed("Cust1")
			send(t, conn, "%s", post(secret, body, string(body)))
			synctest.Wait()
			answered := make(chan error, 1)
			go func() {
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err == nil {
					res.Body.Close()
				}
				answered <- err
			}()
			err := stop()
			if inTime := takes < grace; (err == nil) != inTime || (<-answered == nil) != inTime {
				t.Errorf("Put takes %v: stopped with %v", takes, err)
			}
			<-committed
		})
	}
}

func TestListenerFails(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive.New(config(&kept{})).Serve(t.Context(), listener, 0, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}
