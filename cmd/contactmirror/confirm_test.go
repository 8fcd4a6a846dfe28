package main

import (
	"context"
	"errors"
	"io"
	"testing"
)

// Without an answer, confirm returns when its context is canceled.
func TestConfirm_endsWithTheContext(t *testing.T) {
	t.Parallel()
	stdin, terminal := io.Pipe()
	defer func() { _ = terminal.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	asked, shown := io.Pipe()
	go func() {
		_, _ = asked.Read(make([]byte, 100))
		stop()
		_, _ = io.Copy(io.Discard, asked)
	}()
	call := &invocation{stdin: stdin, stdout: io.Discard, stderr: shown}
	if err := (&ConfirmFlags{}).confirm(ctx, call, "Go on?"); !errors.Is(err, context.Canceled) {
		t.Errorf("confirm returned %v", err)
	}
}
