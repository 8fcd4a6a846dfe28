//go:build unix

package localpg

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"contactmirror/internal/smallfile"
)

func readURL(dir string) (string, error) {
	text, err := smallfile.Read(filepath.Join(dir, urlName))
	return strings.TrimSpace(string(text)), err
}

// keptPort is the port of the last start, 0 if there was none.
func keptPort(dir string) int {
	text, err := readURL(dir)
	if err != nil {
		return 0
	}
	u, err := url.Parse(text)
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

func free(port int) bool {
	l, err := listen(port)
	return err == nil && l.Close() == nil
}

func anyPort() (int, error) {
	l, err := listen(0)
	if err != nil {
		return 0, fmt.Errorf("choose a port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func listen(port int) (*net.TCPListener, error) {
	return net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func inDatabase(databaseURL, name string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err) // made by cluster.url
	}
	u.Path = "/" + name
	return u.String()
}
