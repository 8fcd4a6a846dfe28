//go:build !linux

package pgtest

// memoryDir is empty: only Linux has a directory in memory that is always there.
func memoryDir() string { return "" }
