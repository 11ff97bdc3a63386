package redisstore

import (
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// BenchmarkResume is a herd: each connection has one room, and 3,000 are under
// way at a time.
func BenchmarkResume(b *testing.B) {
	srv, prefix := redistest.Start(b), redistest.Prefix(b)
	from, to := openStore(b, srv, prefix, "n1"), openStore(b, srv, prefix, "n2")
	clients := make([]client, b.N)
	at := make(map[presence.ConnID]int, b.N)
	for i := range clients {
		clients[i].conn = presence.NewConnID()
		at[clients[i].conn] = i
	}
	run := func(s *Store, op func(c client) presence.Op) {
		b.Helper()
		done := make(outcomes, b.N)
		flying := 0
		take := func() {
			op := <-done
			flying--
			if op.Err != nil {
				b.Fatalf("%s: %v", op.Kind, op.Err)
			}
			if op.NewInc != 0 {
				clients[at[op.Conn]].inc = op.NewInc
			}
		}
		for _, c := range clients {
			for flying >= 3000 {
				take()
			}
			op := op(c)
			op.Done = done
			if err := s.Submit(&op); err != nil {
				b.Fatal(err)
			}
			flying++
		}
		for flying > 0 {
			take()
		}
	}
	run(from, func(c client) presence.Op { return c.op(presence.OpOpen, "") })
	run(from, func(c client) presence.Op { return c.op(presence.OpTrack, "lobby") })
	run(from, func(c client) presence.Op { return c.op(presence.OpJoin, "lobby") })
	b.ResetTimer()
	run(to, client.resume)
	b.StopTimer()
}
