package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// greet says where deliveries are taken. Beside the embedded database it also
// shows, complete enough to be pasted, how to send one and how to look.
func greet(c *Config, log *slog.Logger, stderr io.Writer, address net.Addr, clusterDir string) {
	webhook := localURL(address.String(), "/webhook")
	if !c.Embedded() {
		log.Info("receiving", "webhook", webhook)
		return
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		dir = c.DataDir
	}
	send := sampleCommand(webhook, signing(c, dir))
	psql := `psql "$(cat ` + shellWord(filepath.Join(dir, urlFile)) + `)"`
	if !textLog(c, stderr) {
		log.Info("receiving", "webhook", webhook, "database", clusterDir, "send", send, "psql", psql)
		return
	}
	fmt.Fprintf(stderr, "\ncontactmirror takes deliveries at %s\nand keeps its database in %s\n\nSend it a sample event:\n\n  %s\n\nLook at the tables:\n\n  %s\n\nCtrl-C stops it.\n\n",
		webhook, clusterDir, send, psql)
}

// signing is the flag that has send sign as the receiver expects it. Secrets
// that were set are not shown: send finds them where they are set.
func signing(c *Config, dataDir string) string {
	switch {
	case len(c.Secrets)+len(c.TenantSecrets) == 0:
		return "--data-dir " + shellWord(dataDir)
	case c.AllowUnsigned:
		return "--unsigned"
	}
	return ""
}

// sampleCommand is a shell command that sends one event to webhook.
func sampleCommand(webhook, signing string) string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	event := fmt.Sprintf(`{"EventId":"%x-%x-%x-%x-%x","Timestamp":"%s","Event":"contact.created","PrimaryKey":1,"Entity":"contact","ContextIdentifier":"Cust1234","ChangedByAssociateId":7,"Changes":["contact_id","name","country_id"],"FieldValues":{"country_id":578}}`,
		id[:4], id[4:6], id[6:8], id[8:10], id[10:], time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"))
	words := []string{"echo '" + event + "' |", thisProgram(), "send --to", webhook, signing, "-"}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// thisProgram is how a shell starts this program: by its name where that finds
// it, else by its path.
func thisProgram() string {
	path, err := os.Executable()
	if err != nil {
		return "contactmirror"
	}
	if found, err := exec.LookPath("contactmirror"); err == nil && sameFile(found, path) {
		return "contactmirror"
	}
	if strings.Contains(path, string(filepath.Separator)+"go-build") { // go run's, gone when it ends
		return "go run ./cmd/contactmirror"
	}
	return shellWord(path)
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// shellWord quotes text where a shell would not take it as one word.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:,@%", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
