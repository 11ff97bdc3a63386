package redisstore

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// resume begins to watch room as a subscription that is resumed.
func (r *rig) resume(room string, sink presence.RoomSink, from presence.Replay) *presence.Op {
	r.t.Helper()
	done := make(answer, 1)
	op := &presence.Op{Kind: presence.OpWatch, App: rigApp, Room: room, Sink: sink, Done: done, Replay: &from}
	if err := r.watch(op); err != nil {
		r.t.Fatalf("watch %s: %v", room, err)
	}
	select {
	case <-done:
	case <-time.After(waitFor):
		r.t.Fatalf("the watch of %s was never answered", room)
	}
	if op.Err != nil {
		r.t.Fatalf("watch %s: %v", room, op.Err)
	}
	return op
}

// TestLeavesThatEmptiedTheRoomAreReplayed: the node that hosts the room anew
// finds it empty, and without a revision; the old node knows how it emptied.
func TestLeavesThatEmptiedTheRoomAreReplayed(t *testing.T) {
	for _, refill := range []bool{false, true} {
		server, prefix := redistest.Shared(t), redistest.Prefix(t)
		old, _ := newNode(t, server, prefix, "n1.1")
		r, _ := newNode(t, server, prefix, "n2.1")
		handed := old.put("a", 1, `1`)
		at := old.follow("a")
		empty := old.cut("a", 1)
		at.waitFor(1)
		s := newSubscriber(t)
		want := []string{"leave 1"}
		last := empty
		if refill {
			r.follow("a") // hosted when it is empty, and filled before the question
			last = old.put("a", 2, `2`)
			r.until("the room is filled", func() bool { return r.rooms[roomID{rigApp, "a"}].replica.last == last })
			want = append(want, "join 2")
		}
		op := r.resume("a", s, presence.Replay{Conn: conn(9), Handed: handed, From: "n1.1", Lost: 1})
		var got []string
		for _, e := range op.Replayed {
			got = append(got, e.Kind.String()+" "+string('0'+e.Conn[0]))
		}
		if diff := cmp.Diff(want, got); diff != "" || op.Revision != last {
			t.Errorf("refilled %v: answered at %d, want %d; replayed (-want +got):\n%s", refill, op.Revision, last, diff)
		}
		next := old.put("a", 3, `3`)
		if e := s.waitConn(3, next)[0]; e.Conn != conn(3) {
			t.Errorf("refilled %v: the sink was told %+v first", refill, e)
		}
	}
}
