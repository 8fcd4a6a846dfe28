package inbox

import (
	"context"
	"fmt"
	"testing"
	"time"

	"contactmirror/internal/event"
	"contactmirror/internal/pgtest"
)

// BenchmarkStore stores batches of new events, each in one round trip.
func BenchmarkStore(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			db := pgtest.New(b)
			n := 0
			next := func() []*request {
				batch := make([]*request, size)
				for i := range batch {
					n++
					body := fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012x","Timestamp":"2026-02-03T04:05:06.1234567Z","Event":"contact.changed","PrimaryKey":%d,"Entity":"contact","ContextIdentifier":"Cust1","ChangedByAssociateId":5,"Changes":["country_id"],"FieldValues":{"country_id":%d}}`, n, 1+n%5000, n)
					e, err := event.Parse(body, time.Now())
					if err != nil {
						b.Fatal(err)
					}
					batch[i] = &request{Delivery: Delivery{Body: body, ReceivedAt: time.Now(), Event: &e}}
					batch[i].key = keyOf(&batch[i].Delivery)
				}
				return batch
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				batch := next()
				b.StartTimer()
				if _, err := putStmt.Commit(context.Background(), db.Pool, newPutArgs(batch)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
