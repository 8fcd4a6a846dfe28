package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"contactmirror/internal/pg"
)

// exitCode is what the process ends with; scripts rely on the numbers.
type exitCode int

const (
	done            exitCode = iota
	failed                   // the work failed
	wrongCall                // the call was wrong, its settings included; nothing was done
	foundDifference          // a check ran and found a difference
)

// codedError is an error that ends the process with its own code; every other
// error ends it with [failed].
type codedError struct {
	error
	code exitCode
}

func (e codedError) Unwrap() error { return e.error }

// misused makes an error of the call itself.
func misused(format string, args ...any) error {
	return codedError{fmt.Errorf(format, args...), wrongCall}
}

// errReported ends the process with [failed] without another message: what went
// wrong has been said already.
var errReported = errors.New("reported")

// invocation is one call of the program: all that it reads and writes of the
// process around it.
type invocation struct {
	environ        []string // as os.Environ gives it
	stdin          io.Reader
	stdout, stderr io.Writer

	flags map[string]string // the settings given as flags, by variable name
	model *kong.Application // the grammar, for completion
}

// config builds the settings in force. Commands that need none never ask, so
// that a bad setting can't keep anyone from reading help or version.
func (i *invocation) config() (*Config, error) {
	c, err := loadConfig(i.flags, i.environ)
	if err != nil {
		return nil, codedError{err, wrongCall}
	}
	return c, nil
}

// run does what args say and returns the process's exit code. It reads no
// global state, so tests may call it in parallel.
func run(ctx context.Context, args []string, call invocation) exitCode {
	helped := false
	parser := newParser(&call, &helped)
	if len(args) == 0 {
		parser.Stdout = call.stderr
		args = []string{"--help"}
		_, _ = parser.Parse(args)
		return wrongCall
	}
	selected, err := parser.Parse(helpAsFlag(args))
	if helped {
		return done
	}
	if err == nil {
		call.flags, call.model = givenSettings(selected), parser.Model
		selected.BindTo(ctx, (*context.Context)(nil))
		err = selected.Run(&call)
	}
	return conclude(ctx, err, call.stderr)
}

// conclude says what went wrong, once, and gives the exit code for it.
func conclude(ctx context.Context, err error, stderr io.Writer) exitCode {
	var parse *kong.ParseError
	var coded codedError
	var stopped stoppedError
	switch {
	case err == nil:
		return done
	case errors.Is(err, errReported):
		return failed
	case errors.As(err, &parse):
		fmt.Fprintf(stderr, "contactmirror: %s\n", usage(parse))
		return wrongCall
	case errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &stopped):
		fmt.Fprintf(stderr, "contactmirror: %v\n", stopped)
		return failed
	}
	fmt.Fprintf(stderr, "contactmirror: %v\n", err)
	if hint := pg.Hint(err); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	if errors.As(err, &coded) {
		return coded.code
	}
	return failed
}

// usage says why a call could not be parsed, and where to read on.
func usage(parse *kong.ParseError) string {
	at := parse.Context.Model.Node
	if selected := parse.Context.Selected(); selected != nil {
		at = selected
	}
	text := parse.Error()
	if len(at.Children) > 0 {
		text = strings.Replace(text, "unexpected argument ", "no such command: ", 1)
		var names []string
		for _, child := range at.Children {
			names = append(names, child.Name)
		}
		text += "\nCommands: " + strings.Join(names, ", ") + "."
	}
	return fmt.Sprintf("%s\nRun `%s --help`.", text, at.FullPath())
}

// helpAsFlag turns `help CMD…` into `CMD… --help`.
func helpAsFlag(args []string) []string {
	if args[0] != "help" {
		return args
	}
	return append(append([]string{}, args[1:]...), "--help")
}

// givenSettings are the settings among the flags of the call.
func givenSettings(selected *kong.Context) map[string]string {
	given := map[string]string{}
	for _, step := range selected.Path {
		if step.Flag == nil {
			continue
		}
		if name := step.Flag.Tag.Get("setting"); name != "" {
			given[name] = fmt.Sprint(selected.Value(step).Interface())
		}
	}
	return given
}
