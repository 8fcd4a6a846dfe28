package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// scrape LOG STATUS [TOKEN] asks the serve process that logs to LOG for its
// metrics, which become the file metrics.
func scrapeMetrics(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: scrape LOG STATUS [TOKEN]")
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, metricsURL(ts, args[0]), nil)
	ts.Check(err)
	if len(args) > 2 {
		request.Header.Set("Authorization", "Bearer "+args[2])
	}
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	if got := strconv.Itoa(response.StatusCode); got != args[1] {
		ts.Fatalf("got %s, want %s: %s", got, args[1], body)
	}
	ts.Check(os.WriteFile(ts.MkAbs("metrics"), body, 0o644))
}

// metricsURL is what serve logs it to be.
func metricsURL(ts *testscript.TestScript, log string) string {
	lines := bufio.NewScanner(strings.NewReader(ts.ReadFile(log)))
	for lines.Scan() {
		var line struct{ Msg, Metrics string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "measuring" {
			return line.Metrics
		}
	}
	ts.Fatalf("%s names no metrics: %s", log, ts.ReadFile(log))
	return ""
}
