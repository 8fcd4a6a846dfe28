package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ConfirmFlags are for a command whose effect can't be undone.
type ConfirmFlags struct {
	DryRun bool `help:"Only show what would be done."`
	Yes    bool `help:"Do it without asking; needed where standard input is not a terminal."`
}

// check refuses a call that could neither ask nor is told to go ahead, before
// anything is read or written.
func (f *ConfirmFlags) check(call *invocation) error {
	switch {
	case f.DryRun && f.Yes:
		return misused("--dry-run and --yes can't be used together")
	case f.DryRun || f.Yes || terminal(call.stdin):
		return nil
	}
	return misused("standard input is not a terminal, so nobody can confirm: add --yes to go ahead, or --dry-run to see what would be done")
}

// errNotConfirmed is that the answer was not yes.
var errNotConfirmed = errors.New("not confirmed; nothing was changed")

// confirm asks question unless --yes was given. Only yes, in any case, is a yes. It
// returns early if ctx is canceled.
func (f *ConfirmFlags) confirm(ctx context.Context, call *invocation, question string) error {
	if f.Yes {
		return nil
	}
	fmt.Fprintf(call.stderr, "%s Type yes to go ahead: ", question)
	type line struct {
		text string
		err  error
	}
	answered := make(chan line, 1)
	go func() { // without an answer it runs until the process exits
		text, err := bufio.NewReader(call.stdin).ReadString('\n')
		answered <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case answer := <-answered:
		switch {
		case answer.err != nil && !errors.Is(answer.err, io.EOF):
			return fmt.Errorf("read the answer: %w", answer.err)
		case !strings.EqualFold(strings.TrimSpace(answer.text), "yes"):
			return errNotConfirmed
		}
		return nil
	}
}
