package redisstore

import (
	"sync"
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// ask reads a list of room through the feed; between is done when Redis has
// answered and the feed was not told.
func (r *rig) ask(room string, between func()) (list presence.Snapshot, reads int) {
	r.t.Helper()
	done := make(answer, 1)
	op := &presence.Op{Kind: presence.OpMembers, App: rigApp, Room: room, Done: done}
	err := r.members(op, func(op *presence.Op) *presence.Error {
		reads++
		go func() {
			snap, err := r.readRoom(r.t.Context(), op.App, op.Room)
			if err != nil {
				op.Err = presence.Errorf(presence.CodeUnavailable, "%v", err)
			}
			if between != nil {
				between()
				between = nil
			}
			op.Snapshot = snap
			op.Done.OpDone(op)
		}()
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if op := <-done; op.Err != nil {
		r.t.Fatal(op.Err)
	}
	if op.Done == nil || op.Done.(answer) != done {
		r.t.Error("the operation came back with another completion")
	}
	return op.Snapshot, reads
}

func TestMemberOfAListOnlyIsEnded(t *testing.T) {
	r := newRig(t, redistest.Start(t)).start()
	s := r.follow("a")
	r.put("a", 1, `1`, quietly)
	r.put("a", 2, `2`, quietly)
	list, _ := r.ask("a", nil) // ahead of the feed
	r.cut("a", 1, quietly)
	r.cutLink()
	s.waitFor(3)
	r.expectTold(s, "join 1  1", "join 2  2", "leave 1 unknown")
	r.expectFold("a", list, s)

	list, _ = r.ask("a", nil)
	r.put("a", 3, `3`, quietly)
	ahead, _ := r.ask("a", nil)
	r.cut("a", 3, quietly)
	r.cut("a", 2, quietly) // the room is empty, its last revisions are lost
	r.onLoop(r.auditAll)
	s.waitFor(6)
	r.expectTold(s, "join 1  1", "join 2  2", "leave 1 unknown", "join 3  3", "leave 2 unknown", "leave 3 unknown")
	r.expectFold("a", list, s)
	r.expectFold("a", ahead, s)
}

func TestListFromBeforeASnapshotIsReadAgain(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.put("a", 9, `9`)
	s := r.follow("a")
	r.untilChecked()
	r.put("a", 1, `1`, quietly)
	list, reads := r.ask("a", func() {
		r.cut("a", 1, quietly)
		r.put("a", 2, `2`)
		s.waitFor(1)
		r.untilChecked()
	})
	if reads != 2 || len(list.Members) != 2 {
		t.Errorf("a list that a repair overtook was read %d times and holds %v", reads, list.Members)
	}
	r.expectFold("a", list, s)
}

func TestListThatTheEventsCatchUpWithChangesNothing(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.put("a", 1, `1`)
	s := r.follow("a")
	var writers sync.WaitGroup
	defer writers.Wait()
	for n := range byte(50) {
		writers.Go(func() { r.put("a", n, `1`) })
		if _, reads := r.ask("a", nil); reads != 1 {
			t.Errorf("the list was read %d times", reads)
		}
	}
	s.waitFor(50)
	r.untilChecked()
	r.expectResyncs(map[string]float64{})
	r.onLoop(func() {
		if n := len(r.rooms[roomID{rigApp, "a"}].replica.lists); n != 0 {
			t.Errorf("%d lists are kept", n)
		}
	})
}
