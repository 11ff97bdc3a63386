package redisstore

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// TestConnectionsAreCutUnderLoad has connections join, update and leave, one
// operation at a time each, while Redis loses our connections, its scripts and
// for a while its CPU. Whatever was answered must be true afterwards, and what
// was published must be one join and one leave a membership.
func TestConnectionsAreCutUnderLoad(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	rooms := []string{"a", "b", "c"}
	seen := listen(t, rdb, s.keys, rooms...)
	const goroutines, ops = 32, 12
	clients := make([]client, goroutines)
	for i := range clients {
		clients[i] = connect(t, s)
		must(t, s, clients[i].op(presence.OpTrack, rooms[i%3]))
	}
	faults := make(chan int, goroutines*ops)
	var faulty sync.WaitGroup
	faulty.Go(func() {
		for n := range faults {
			switch n % 8 {
			case 7:
				srv.Pause(t)
				srv.Resume(t)
			case 3:
				if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
					t.Errorf("flush the scripts: %v", err)
				}
			default:
				if err := rdb.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err(); err != nil {
					t.Errorf("cut connections: %v", err)
				}
			}
		}
	})
	member := make([]bool, goroutines)
	unknown := make([]int, goroutines)
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			room := rooms[i%3]
			for n := range ops {
				if n%5 == i%5 {
					faults <- n + i
				}
				kind := []presence.OpKind{presence.OpJoin, presence.OpUpdate, presence.OpLeave}[n%3]
				op := c.op(kind, room)
				op.Data = fmt.Appendf(nil, `{"n":%d}`, n)
				o := submit(t, s, op)
				done := o.next(t)
				if done.Unknown {
					unknown[i]++
					if done = o.next(t); done.Err != nil && done.Err.Code != presence.CodeNotMember {
						t.Errorf("%s of %d is settled as %v", kind, i, done.Err)
					}
				}
				switch {
				case done.Err == nil:
					member[i] = kind != presence.OpLeave
				case done.Err.Code == presence.CodeNotMember && !member[i]:
				case done.Err.Code != presence.CodeUnavailable:
					t.Errorf("%s of %d, member %v: %v", kind, i, member[i], done.Err)
				}
			}
		})
	}
	all.Wait()
	close(faults)
	faulty.Wait()
	for i, c := range clients {
		list := must(t, s, c.op(presence.OpMembers, rooms[i%3])).Snapshot.Members
		if got := slices.ContainsFunc(list, func(m presence.Member) bool { return m.Conn == c.conn }); got != member[i] {
			t.Errorf("connection %d is a member: %v, want %v by what was answered", i, got, member[i])
		}
		s.Depart(c.departure(presence.ReasonClosed))
	}
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
	events := seen.await(t, "as many leaves as joins", func(all []presence.Event) bool {
		joins, leaves := 0, 0
		for _, e := range all {
			switch e.Kind {
			case presence.KindJoin:
				joins++
			case presence.KindLeave:
				leaves++
			}
		}
		return joins > 0 && joins == leaves
	})
	in := make(map[presence.ConnID]bool)
	for _, e := range events {
		if e.Kind == presence.KindMark || in[e.Conn] == (e.Kind == presence.KindJoin) {
			t.Errorf("%s of %s, who is a member: %v", e.Kind, e.Conn, in[e.Conn])
		}
		in[e.Conn] = e.Kind != presence.KindLeave
	}
	total := 0
	for _, n := range unknown {
		total += n
	}
	t.Logf("%d of %d operations were unknown for a while", total, goroutines*ops)
}
