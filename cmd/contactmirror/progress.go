package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressBar shows on a terminal how far some work is. update may be called by
// several goroutines, and is nil where nobody looks.
func progressBar(w io.Writer, what string) (update func(done, total int64), finish func()) {
	if !terminal(w) {
		return nil, func() {}
	}
	bars := mpb.New(mpb.WithOutput(w), mpb.WithWidth(64))
	bar := bars.AddBar(1,
		mpb.PrependDecorators(decor.Name(what+" ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.Elapsed(decor.ET_STYLE_GO)))
	update = func(done, total int64) {
		bar.SetTotal(total+1, false) // it ends when the work does
		bar.SetCurrent(done)
	}
	return update, func() {
		bar.SetTotal(-1, true)
		bars.Wait()
	}
}
