package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"
)

// newLogger makes the process's log, on w.
func newLogger(c *Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if textLog(c, w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// textLog reports whether a person, rather than a program, reads the log.
func textLog(c *Config, w io.Writer) bool {
	return c.LogFormat == "text" || c.LogFormat == "auto" && terminal(w)
}

// terminal reports whether stream, a reader or a writer, is a terminal.
func terminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
