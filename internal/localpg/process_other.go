//go:build unix && !linux

package localpg

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing: only Linux's kernel can.
func dieWithParent(*syscall.SysProcAttr) {}

// commandLine is how process pid was called, each argument followed by a space;
// empty where it has ended. One that nobody has waited for shows no arguments.
func commandLine(pid int) string {
	out, err := exec.CommandContext(context.Background(), "ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out)) + " "
}
