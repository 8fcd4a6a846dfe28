package admin_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"contactmirror/internal/admin"
)

// promtool runs Prometheus' own checker. Where it is missing the test is
// skipped, but not in CI.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("promtool is missing: %v", err)
		}
		t.Skip("NOT CHECKED: promtool is missing; it is in Debian's package prometheus")
	}
	command := exec.CommandContext(t.Context(), path, args...)
	command.Stdin = strings.NewReader(stdin)
	command.Dir = "testdata"
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	promtool(t, "", "check", "rules", "../contactmirror.rules.yml")
	promtool(t, "", "test", "rules", "contactmirror.rules.test.yml")
}

// The rules speak of nothing that is not measured.
func TestRulesKnowTheMetrics(t *testing.T) {
	t.Parallel()
	measured := scrape(t, newMirror(t).admin)
	named := regexp.MustCompile(`\bcontactmirror_\w+`).FindAllString(admin.Rules, -1)
	if len(named) < 10 {
		t.Fatalf("the rules name only %q", named)
	}
	for _, name := range named {
		// A histogram without observations has no buckets for one code or another.
		if !strings.Contains(measured.text, "\n# TYPE "+strings.TrimSuffix(name, "_bucket")+" ") {
			t.Errorf("the rules name %s, which is not measured", name)
		}
	}
}
