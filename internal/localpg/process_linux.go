package localpg

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the kernel stop the process when the thread that started it
// ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }

// commandLine is how process pid was called, each argument followed by a space;
// empty where it has ended, even if nobody has waited for it yet.
func commandLine(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(text), "\x00", " ")
}
