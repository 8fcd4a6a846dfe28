package pgtest

import (
	"os"
	"syscall"
)

// memoryDir is a directory in memory with room for a test server, on which a
// database is made ten times as fast as on a disk; empty where there is none, or
// where TMPDIR says where temporary files belong.
func memoryDir() string {
	const (
		dir   = "/dev/shm"
		tmpfs = 0x01021994
		room  = 1 << 30 // bytes
	)
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &fs) != nil {
		return ""
	}
	if fs.Type != tmpfs || fs.Bavail*uint64(fs.Bsize) < room {
		return ""
	}
	return dir
}
