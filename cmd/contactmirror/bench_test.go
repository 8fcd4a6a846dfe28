package main

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/signature"
	"contactmirror/internal/simulator"
)

// BenchmarkAccept posts signed deliveries from 64 connections to a serve whose
// database syncs each commit. Generator, server and database share the machine.
func BenchmarkAccept(b *testing.B) {
	db := pgtest.Durable(b)
	to := serve(b, db, "--roles", "receive")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.Cleanup(client.CloseIdleConnections)
	lives := simulator.NewLives(1, []string{"Cust1"}, 5000, time.Now().AddDate(-10, 0, 0))
	bodies := make([][]byte, max(b.N, 1))
	signatures := make([]string, len(bodies))
	for i := range bodies {
		bodies[i] = lives.Next()
		signatures[i] = signature.Sign(testSecret, bodies[i])
	}
	var next, spooled atomic.Int64
	b.SetParallelism(32) // on two cores
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			i := next.Add(1) - 1
			request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, to.url, bytes.NewReader(bodies[i]))
			if err != nil {
				b.Error(err)
				return
			}
			request.Header.Set(signature.Header, signatures[i])
			answer, err := client.Do(request)
			if err != nil {
				b.Error(err)
				return
			}
			text, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err != nil || answer.StatusCode != http.StatusOK {
				b.Error(answer.Status, string(text), err)
				return
			}
			if bytes.Contains(text, []byte("spooled")) {
				spooled.Add(1)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(spooled.Load()), "spooled")
}
