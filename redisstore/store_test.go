package redisstore

import (
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestAConnectionJoinsUpdatesReadsAndLeaves(t *testing.T) {
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	c := connect(t, s)
	c.enter(t, s, "lobby")

	update := c.op(presence.OpUpdate, "lobby")
	update.Data = []byte(`{"n":2}`)
	rev := must(t, s, update).Revision

	read := must(t, s, c.op(presence.OpMembers, "lobby"))
	if read.Snapshot.Revision != rev || len(read.Snapshot.Members) != 1 {
		t.Fatalf("members: got %+v, want one at revision %d", read.Snapshot, rev)
	}
	m := read.Snapshot.Members[0]
	if m.Conn != c.conn || m.Inc != c.inc || m.Node != s.Stamp() || string(m.Data) != `{"n":2}` || string(m.Client) != `"123"` {
		t.Errorf("member: got %+v", m)
	}
	if n := must(t, s, c.op(presence.OpCount, "lobby")); n.Count != 1 || n.Revision != rev {
		t.Errorf("count: got %d at %d, want 1 at %d", n.Count, n.Revision, rev)
	}
	if left := must(t, s, c.op(presence.OpLeave, "lobby")); left.Revision != rev+1 {
		t.Errorf("leave: got revision %d, want %d", left.Revision, rev+1)
	}
	if again := must(t, s, c.op(presence.OpLeave, "lobby")); again.Revision != 0 {
		t.Errorf("second leave: got revision %d, want 0", again.Revision)
	}
	must(t, s, c.op(presence.OpUntrack, "lobby"))
	if n := must(t, s, c.op(presence.OpCount, "lobby")); n.Count != 0 || n.Revision != 0 {
		t.Errorf("count of the empty room: got %d at %d, want 0 at 0", n.Count, n.Revision)
	}
	if read := must(t, s, c.op(presence.OpMembers, "lobby")); read.Snapshot.Revision != 0 || len(read.Snapshot.Members) != 0 {
		t.Errorf("members of the empty room: got %+v", read.Snapshot)
	}
	s.Depart(c.departure(presence.ReasonClosed))
	rdb := srv.Client(t)
	until(t, "the session to go", func() bool { return len(leftovers(t, rdb, prefix)) == 0 })
}
