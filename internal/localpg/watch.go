//go:build unix

package localpg

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// watched holds whoever has changed http.DefaultClient.
var watched sync.Mutex

// watch runs fetch, which downloads with http.DefaultClient, the library's only
// way out. Until it returns that client's requests end with ctx, move a bar on
// progress if it is a terminal, and tell the error what went wrong where. It
// returns how many bytes came.
func watch(ctx context.Context, version string, progress io.Writer, fetch func() error) (int64, error) {
	watched.Lock()
	defer watched.Unlock()
	w := &watcher{ctx: ctx, through: http.DefaultClient.Transport}
	if w.through == nil {
		w.through = http.DefaultTransport
	}
	if isTerminal(progress) {
		bars := mpb.New(mpb.WithOutput(progress), mpb.WithWidth(64))
		w.bar = bars.AddBar(0,
			mpb.PrependDecorators(decor.Name("PostgreSQL "+version+" "), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.Percentage()))
		defer bars.Wait()
		defer w.bar.Abort(false) // does nothing when it is complete
	}
	defer func(before http.RoundTripper) { http.DefaultClient.Transport = before }(http.DefaultClient.Transport)
	http.DefaultClient.Transport = w
	if err := fetch(); err != nil {
		return 0, w.explain(err)
	}
	return w.count.Load(), nil
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// watcher is the round trip of the library's requests.
type watcher struct {
	ctx     context.Context
	through http.RoundTripper
	bar     *mpb.Bar // nil: none
	count   atomic.Int64

	mu   sync.Mutex
	url  string // of the last request
	came string // of it, if not what was hoped for
}

func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.through.RoundTrip(r.WithContext(w.ctx))
	w.note(r, response, err)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(original(r).URL.Path, ".sha256") {
		return w.checksum(response)
	}
	if response.StatusCode == http.StatusOK {
		response.Body = w.counted(response)
	}
	return response, nil
}

// original is the request that redirections led from to r.
func original(r *http.Request) *http.Request {
	for r.Response != nil && r.Response.Request != nil {
		r = r.Response.Request
	}
	return r
}

// checksum returns response with its body read, or an error unless it holds a
// checksum: without one the library would take what it has for good.
func (w *watcher) checksum(response *http.Response) (*http.Response, error) {
	if response.StatusCode/100 == 3 {
		return response, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("no checksum: %s", response.Status)
	}
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(bytes.TrimSpace(text)))
	return response, nil
}

// counted is the body of response, which moves the bar.
func (w *watcher) counted(response *http.Response) io.ReadCloser {
	if w.bar != nil {
		w.bar.SetTotal(response.ContentLength, false)
	}
	return &countedBody{response.Body, w}
}

type countedBody struct {
	io.ReadCloser
	watcher *watcher
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watcher.count.Add(int64(n))
	if bar := b.watcher.bar; bar != nil {
		bar.IncrBy(n)
		if err == io.EOF {
			bar.SetTotal(-1, true)
		}
	}
	return n, err
}

// note remembers what came of r.
func (w *watcher) note(r *http.Request, response *http.Response, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.url, w.came = r.URL.String(), ""
	if err != nil {
		w.came = ": " + err.Error()
	} else if response.StatusCode >= 400 {
		w.came = " answers " + response.Status
	}
}

// explain adds to the library's error what it leaves out.
func (w *watcher) explain(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.url == "" || strings.Contains(err.Error(), w.url) {
		return err
	}
	return fmt.Errorf("%w (last request: %s%s)", err, w.url, w.came)
}
