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
	askAdmin(ts, adminURL(ts, args[0]).Metrics, "metrics", args[1:])
}

// follow LOG QUERY STATUS [TOKEN] asks the serve process that logs to LOG for
// changes, which become the file changes.
func followChanges(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: follow LOG QUERY STATUS [TOKEN]")
	}
	askAdmin(ts, adminURL(ts, args[0]).Changes+args[1], "changes", args[2:])
}

// askAdmin asks for url, with the token behind the status if there is one, and
// keeps the answer in file.
func askAdmin(ts *testscript.TestScript, url, file string, args []string) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	ts.Check(err)
	if len(args) > 1 {
		request.Header.Set("Authorization", "Bearer "+args[1])
	}
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	if got := strconv.Itoa(response.StatusCode); got != args[0] {
		ts.Fatalf("got %s, want %s: %s", got, args[0], body)
	}
	ts.Check(os.WriteFile(ts.MkAbs(file), body, 0o644))
}

type measuring struct{ Msg, Metrics, Changes string }

// adminURL is what serve logs of the admin listener.
func adminURL(ts *testscript.TestScript, log string) measuring {
	lines := bufio.NewScanner(strings.NewReader(ts.ReadFile(log)))
	for lines.Scan() {
		var line measuring
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "measuring" {
			return line
		}
	}
	ts.Fatalf("%s names no metrics: %s", log, ts.ReadFile(log))
	return measuring{}
}
