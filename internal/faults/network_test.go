//go:build linux

package faults

import (
	"context"
	"fmt"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// network is the wire to one server, which a test can spoil.
type network struct {
	lab   *lab
	proxy *toxiproxy.Proxy
	port  int
}

// network puts a wire before the server at port.
func (l *lab) network(port int) *network {
	l.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{lab: l, port: l.freePort()}
	n.proxy = toxiproxy.NewProxy(api, "postgres", at(n.port), at(port))
	n.connect()
	l.Cleanup(n.proxy.Stop)
	return n
}

// connect lets connections through again after cut.
func (n *network) connect() {
	n.lab.Helper()
	if err := n.proxy.Start(); err != nil {
		n.lab.Fatal(err)
	}
}

// cut closes every connection and refuses new ones.
func (n *network) cut() { n.proxy.Stop() }

// spoil adds a toxic to what flows in both directions.
func (n *network) spoil(kind, attributes string) {
	n.lab.Helper()
	for _, direction := range []string{"upstream", "downstream"} {
		n.spoilOne(kind, direction, attributes)
	}
}

func (n *network) spoilOne(kind, direction, attributes string) {
	n.lab.Helper()
	toxic := fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": {%s}}`, kind, direction, attributes)
	if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		n.lab.Fatalf("add %s: %v", toxic, err)
	}
}

// clean removes all toxics.
func (n *network) clean() { n.proxy.Toxics.ResetToxics(context.Background()) }
