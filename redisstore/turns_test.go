package redisstore

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	presence "presencesets"
)

func TestTurnsAreGivenOneAtATime(t *testing.T) {
	t.Parallel()
	q, conn := newTurns(), presence.NewConnID()
	always := func() bool { return true }
	var got []string
	note := func(name string) func(bool) {
		return func(ok bool) { got = append(got, name+" "+strconv.FormatBool(ok)) }
	}
	free := false
	q.enter(conn, time.Hour, always, note("first"))
	q.enter(conn, time.Hour, always, note("second"))
	q.await(conn, time.Hour, func() bool { return free }, note("third"))
	q.enter(presence.NewConnID(), time.Hour, always, note("another connection"))
	gaveUp := make(chan bool)
	q.enter(conn, 0, always, func(ok bool) { gaveUp <- ok })
	if <-gaveUp {
		t.Error("a turn is given to who waits no longer")
	}
	q.wake(conn)
	q.exit(conn)
	free = true
	q.exit(conn)
	want := []string{"first true", "another connection true", "second true", "third true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	if len(q.held) != 1 || len(q.waiting) != 0 {
		t.Errorf("left behind: %d held, want the other connection's, and %d waited for", len(q.held), len(q.waiting))
	}
}
