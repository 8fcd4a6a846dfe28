// Package admin is the listener for those who run the mirror: measurements for
// Prometheus, the change feed for systems that follow it, and Go's profiles.
//
// It shows and changes nothing, and it is not for the world: with a token every
// request must bear it; without one only this machine may connect, and a web
// page in its browser may not. Only /healthz is open, for probes.
//
// A [Metrics] is told of batches and answers as they happen and asks for the
// rest when it is scraped. What a scrape costs is bounded in every state of the
// database: it is asked at most once in fifteen seconds, for a second at most,
// and counts no further than some way into a long queue.
//
// The parts that are measured know nothing of Prometheus. This package and cmd
// translate.
package admin
