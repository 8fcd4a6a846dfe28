package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// healthcheckCmd asks the receiver on this machine whether it is ready.
type healthcheckCmd struct {
	DatabaseFlags
	ListenFlag
	Timeout time.Duration `default:"5s" help:"How long to wait for the answer; default 5s."`
}

// Run returns nil when readyz answers 200, and else an error with what it said.
func (h *healthcheckCmd) Run(ctx context.Context, call *invocation) error {
	config, err := call.config()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	url := localURL(config.Listen, "/readyz")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return notRunning(url, fmt.Errorf("healthcheck: %w", err))
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("healthcheck: read the answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("healthcheck: %s answered %s: %s", url, response.Status, strings.TrimSpace(string(said)))
	}
	fmt.Fprintln(call.stdout, strings.TrimSpace(string(said)))
	return nil
}
