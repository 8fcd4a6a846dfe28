package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// versionCmd shows which build this is.
type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

// build is what the Go linker recorded of a build. Revision and Time are empty
// where it was not made from a checkout.
type build struct {
	Version  string `json:"version"` // (devel) where the module has no version
	Revision string `json:"revision"`
	Time     string `json:"time"` // of the revision, RFC 3339
	Dirty    bool   `json:"dirty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

// Run prints the build.
func (v *versionCmd) Run(call *invocation) error {
	b := thisBuild()
	if v.JSON {
		return writeJSON(call.stdout, b)
	}
	revision, at := b.Revision, b.Time
	if revision == "" {
		revision, at = "unknown", "unknown"
	}
	if b.Dirty {
		revision += ", with uncommitted changes"
	}
	fmt.Fprintf(call.stdout, "contactmirror %s\n", b.Version)
	return writeTable(call.stdout, [][]string{
		{"revision", revision},
		{"time", at},
		{"go", b.Go + " " + b.Platform},
	})
}
