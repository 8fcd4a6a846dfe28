// Command contactmirror keeps a PostgreSQL mirror of SuperOffice's contacts,
// and an audit log of every change, from SuperOffice's webhooks.
//
// This package is the only place where everything meets: it reads flags and
// environment into one [Config], hands values to the packages, and prints what
// they return. Data goes to standard output, everything said about it to
// standard error. No rule about contacts, deliveries or the database lives
// here.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// memoryLimit is what the collector keeps the process under while it can. Twice
// the largest live heap is far less; but a flood of large bodies makes garbage
// faster than the default pace collects it.
const memoryLimit = 80 << 20

// gcPercent lets the heap grow further than by default before it is collected:
// what lives is a few MiB, and the limit above holds the rest.
const gcPercent = 400

func main() {
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(memoryLimit)
	}
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	// Writing to a pipe that nobody reads any more is an error like any other, not
	// the end at once: what has been started has to be stopped.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancelCause(context.Background())
	go cancelOnSignal(cancel)
	os.Exit(int(run(ctx, os.Args[1:], invocation{
		environ: os.Environ(),
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
	})))
}

// cancelOnSignal cancels on the first SIGINT or SIGTERM, so that work ends in
// order, and ends the process on the second. It exits by itself rather than by
// the signal's default, which the kernel withholds from a container's process 1.
func cancelOnSignal(cancel context.CancelCauseFunc) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	first := <-signals
	cancel(stoppedError{first})
	second := <-signals
	code := 1
	if s, ok := second.(syscall.Signal); ok {
		code = 128 + int(s)
	}
	os.Exit(code)
}

// stoppedError is the cause of a context that a signal cancelled.
type stoppedError struct{ signal os.Signal }

func (e stoppedError) Error() string { return fmt.Sprintf("stopped by signal: %v", e.signal) }
