//go:build !unix

package localpg

import (
	"context"
	"errors"
)

var errNoUnix = errors.New("localpg: the embedded PostgreSQL runs on Unix only: set DATABASE_URL to use another server")

// Server is never made on this system.
type Server struct{}

// Start returns an error: on this system there is no embedded PostgreSQL.
func Start(context.Context, Options) (*Server, error) { return nil, errNoUnix }

// URL is empty.
func (s *Server) URL() string { return "" }

// Dir is empty.
func (s *Server) Dir() string { return "" }

// Adopted is false.
func (s *Server) Adopted() bool { return false }

// Stop has nothing to do.
func (s *Server) Stop(context.Context) error { return nil }

// Running finds nothing.
func Running(context.Context, string) (string, bool) { return "", false }
