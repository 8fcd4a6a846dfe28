//go:build !linux

package bench

import (
	"errors"
	"time"
)

// errUnknown is returned where the system does not tell.
var errUnknown = errors.New("bench: only Linux tells what a process uses")

// ProcessCPU is how much processor time the process has used.
func ProcessCPU(int) (time.Duration, error) { return 0, errUnknown }

// ProcessPeak is the most memory that the process has had resident, in bytes.
func ProcessPeak(int) (int64, error) { return 0, errUnknown }
