package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	presence "presencesets"
)

// A hosted room: its replica, and the reads of the room that begin and mend it.
//
//	           confirmed            snapshot
//	subscribed ─────────▶ reading ─────────▶ live ◀────────┐
//	                         ▲                │ gap, back  │ the difference
//	                         └── again ───────┴─▶ reading ─┘
//
// While a read is on its way, events are kept; before it is sent they are not:
// whatever has arrived by then is in the snapshot. A read that fails is
// repeated for as long as somebody watches the room.

const (
	readsMost   = 32              // reads of rooms at the same time, of one master
	readTimeout = 2 * time.Second // of one read
	keepEvents  = 4096            // kept while a read is on its way; more start it again
	keepBytes   = 4 << 20         //
	retryMin    = 50 * time.Millisecond
	retryMax    = 5 * time.Second
	marksMost   = 3 // marks in a row before the next try waits
)

// hosted is a room with subscribers here. Owned by the loop.
type hosted struct {
	audience
	id      roomID
	known   bool // replica is true at its revision
	replica replica
	asOf    time.Time // a list that was asked for before this may lack what was never told
	past    past      // what was told lately
	ages    bool      // is in the feed's ageing

	reading  bool   // a snapshot is needed
	queued   bool   // in the queue of reads
	flying   bool   // a read is on its way
	cause    string // of the read
	floor    presence.Revision
	doubt    presence.Revision // what the room must be marked with before its next read; 0: nothing
	doubted  presence.Revision // the same, of the read that is on its way
	holds    time.Time         // who is missing has not left before
	doubtful bool              // it holds because Redis may have lost something
	failures int               // reads in a row that failed, or found the room below its floor
	again    string            // cause of a check that is due after the read; "" none

	wanting []*waiter // replays from the room's members that wait for a read
	listed  bool      // such a read is queued or on its way

	kept      []*presence.Event // came while the read was on its way
	keptBytes int
	overflow  bool // kept too much: the read is worth nothing
}

// host begins or continues to host op's room.
func (f *feed) host(op *presence.Op, submitted time.Time) {
	if f.closing {
		refuse(op, errFeedClosed())
		return
	}
	id := roomID{op.App, op.Room}
	r := f.rooms[id]
	if r == nil {
		r = &hosted{audience: audience{f: f, forget: func() { delete(f.rooms, id) }}, id: id}
		f.rooms[id] = r
		r.sub = f.subscribe(f.keys.feed(op.App, op.Room), r)
	}
	r.attend(op)
	if r.known && op.Replay == nil {
		r.succeed(op, r.replica.last)
		return
	}
	w := r.wait(op, submitted)
	if r.known {
		r.replay(w)
	}
}

// confirmed: everything published from here on arrives. What was published
// before must be in a snapshot that is read from here on, or be shown not to be.
func (r *hosted) confirmed(cause string) {
	r.asOf = time.Now()
	switch {
	case r.flying:
		r.again = cause
	case !r.known:
		r.read(causeStart)
	case r.reading:
		r.read(cause)
	default:
		r.f.check(r, cause)
	}
}

func (r *hosted) message(payload string) {
	if r.reading && !r.flying {
		return // older than the snapshot to come
	}
	line := []byte(payload)
	e, err := parseEvent(line)
	if err != nil {
		r.f.complain("an event has an unknown form, checking its room", r.id, err)
		if r.flying {
			r.again = causeGap
		} else {
			r.f.check(r, causeGap)
		}
		return
	}
	if !r.reading {
		r.apply(&e)
		return
	}
	if len(r.kept) >= keepEvents || r.keptBytes+len(line) > keepBytes {
		r.dropKept()
		r.overflow = true
	}
	if !r.overflow {
		r.kept = append(r.kept, &e)
		r.keptBytes += len(line)
	}
}

func (r *hosted) dropKept() { r.kept, r.keptBytes, r.overflow = nil, 0, false }

// apply is what the table in resync.go says, on a live room.
func (r *hosted) apply(e *presence.Event) {
	members, snapshots, last := r.replica.live(), r.replica.snapshots, r.replica.last
	v := r.replica.take(e, r.emit)
	r.closeStep(last, v != verdictApply && (v != verdictFresh || members > 0))
	if r.replica.snapshots != snapshots {
		r.asOf = time.Now()
	}
	switch {
	case v == verdictFresh && members > 0: // their leaves were missed
		r.f.metrics.FeedGaps.Inc()
	case v == verdictGap:
		r.f.metrics.FeedGaps.Inc()
		r.read(causeGap)
	case v == verdictBack:
		r.f.complain("a room's revisions went back, marking it", r.id, fmt.Errorf("%d came after %d", e.Revision, r.replica.last))
		r.read(causeBack)
	}
}

func (r *hosted) emit(e *presence.Event) {
	r.past.tell(e, r.f.retained)
	if r.sink != nil {
		r.sink.RoomEvent(e)
	}
}

// read asks for a snapshot. One read of a room is enough at a time.
func (r *hosted) read(cause string) {
	if !r.reading {
		r.reading, r.cause = true, cause
	}
	if !r.queued && !r.flying && !r.gone {
		r.queued = true
		r.f.reads.push(r)
	}
}

// readQueue holds the rooms that wait for a read: those that somebody waits to
// see before those that are only mended.
type readQueue struct {
	first, then []*hosted
	flying      int
}

func (q *readQueue) push(r *hosted) {
	if r.known {
		q.then = append(q.then, r)
	} else {
		q.first = append(q.first, r)
	}
}

func (q *readQueue) pop() *hosted {
	from := &q.first
	if len(*from) == 0 {
		from = &q.then
	}
	if len(*from) == 0 {
		return nil
	}
	r := (*from)[0]
	(*from)[0] = nil
	*from = (*from)[1:]
	return r
}

// startReads sends as many reads as may be on their way.
func (f *feed) startReads() {
	for f.reads.flying < readsMost {
		r := f.reads.pop()
		if r == nil {
			return
		}
		r.queued = false
		if r.gone || !r.sub.on {
			continue // the confirmation will ask again
		}
		r.dropKept()
		r.replica.seal()
		r.flying = true
		r.doubted, r.doubt = r.doubt, 0
		f.reads.flying++
		f.beside(r.fetch(max(r.floor, r.doubted), r.known))
	}
}

// fetch reads the room beside the loop, and marks it first where floor says so.
func (r *hosted) fetch(floor presence.Revision, repair bool) func(context.Context) func() {
	f, id := r.f, r.id
	return func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		var snap presence.Snapshot
		var now int64
		var err error
		if floor > 0 {
			_, err = f.store.mark(ctx, id.app, id.room, floor)
		}
		if err == nil {
			snap, err = f.store.readRoom(ctx, id.app, id.room)
		}
		if err == nil && repair {
			var t time.Time
			t, err = f.client().Time(ctx).Result()
			now = t.UnixMilli()
		}
		return func() { r.fetched(snap, now, err) }
	}
}

// fetched makes the room live again.
func (r *hosted) fetched(snap presence.Snapshot, now int64, err error) {
	r.flying = false
	r.f.reads.flying--
	switch {
	case r.gone:
		return
	case err != nil:
		r.doubt = max(r.doubt, r.doubted)
		r.fetchFailed(err)
		return
	case r.overflow, r.doubt > 0, snap.Revision == 0 && len(r.replica.lists) > 0:
		// Too much happened, or Redis is another one since, or a list came
		// meanwhile of which an empty room does not tell whether it is older:
		// once more.
		r.read(r.cause)
		return
	}
	r.asOf = time.Now()
	if r.known {
		last := r.replica.last
		r.floor = r.replica.reconcile(snap, now, r.emit)
		r.closeStep(last, true)
		if r.floor > 0 {
			r.markAndRead()
			return
		}
	} else {
		r.replica.adopt(snap)
		r.known = true
		r.past.begin(r.replica.last)
		r.welcome()
	}
	r.f.metrics.Resyncs.WithLabelValues(r.cause).Inc()
	r.failures = 0
	r.reading = false
	r.settle()
	if r.again != "" {
		r.f.check(r, r.again)
		r.again = ""
	}
	kept := r.kept
	r.dropKept()
	for _, e := range kept {
		if r.reading {
			return // the next snapshot holds the rest
		}
		r.apply(e)
	}
}

// settle waits until no event can come that the snapshot holds.
func (r *hosted) settle() {
	snapshots := r.replica.snapshots
	r.sub.up.barrier(func() {
		if r.replica.snapshots == snapshots {
			r.replica.settling, r.replica.void = false, false
		}
	})
}

// markAndRead reads the room once more, with its floor.
func (r *hosted) markAndRead() {
	if r.failures++; r.failures > marksMost {
		r.readLater()
		return
	}
	r.read(r.cause)
}

func (r *hosted) fetchFailed(err error) {
	r.failures++
	r.f.complain("could not read a room, trying again", r.id, err)
	r.readLater()
	var refused *presence.Error
	if errors.As(err, &refused) && !refused.Retry {
		r.refuseAll(refused) // it will not be better in two seconds
	}
}

// complain logs what may be true of many rooms at once: one line a second.
func (f *feed) complain(what string, id roomID, err error) {
	if now := time.Now(); now.Sub(f.complained) > time.Second {
		f.complained = now
		f.log.Warn(what, "app", id.app, "room", id.room, "err", err)
	}
}

// readLater reads again after a while. Until then nothing is kept.
func (r *hosted) readLater() {
	r.dropKept()
	wait := min(retryMax, retryMin<<min(r.failures, 10))
	r.f.after(wait, func() {
		if r.reading {
			r.read(r.cause)
		}
	})
}

// doubt marks every hosted room of a master with floor and compares it with
// what its subscribers were told, whatever its revision is: that master may
// have forgotten what it had told this node. For as long as f.doubted, and until
// every node has written again what is its own, nobody is told to have left for being
// missing. It never blocks.
func (f *feed) doubt(master string, floor presence.Revision) {
	f.post(func() {
		until := time.Now().Add(f.doubted)
		for _, r := range f.rooms {
			if r.sub.up.name == master {
				r.doubt, r.doubtful = max(r.doubt, floor), true
				r.hold(until)
				r.read(causeDoubt)
			}
		}
		f.after(f.doubted, f.release)
	})
}

// hold has nobody leave for being missing, until then at least.
func (r *hosted) hold(until time.Time) {
	r.replica.hold()
	if r.holds.Before(until) {
		r.holds = until
	}
}

// holdMore is how soon it is looked again whether everything is there again, and
// holdMost for how long at most.
const (
	holdMore = 250 * time.Millisecond
	holdMost = explains
)

// release tells who is missing still where the time to come back is over.
func (f *feed) release() {
	now, mended, again := time.Now(), f.mended(), false
	for _, r := range f.rooms {
		switch {
		case !r.replica.holding || now.Before(r.holds):
		case r.sub.up.suspected: // for as long as that server is away
			again = true
		case mended || now.After(r.holds.Add(holdMost)):
			r.endHold()
		default:
			again = true
		}
	}
	if again {
		f.after(holdMore, f.release)
	}
}

func (r *hosted) endHold() {
	r.holds, r.doubtful = time.Time{}, false
	if r.replica.release() {
		r.read(causeDoubt)
	}
}

// suspect has a room hold whose link was lost, or which another master has now,
// until that server is known, and then as long as after a doubt or not at all:
// what comes next may be of a server that has lost something, and whose other
// nodes write already what was theirs.
func (r *hosted) suspect() {
	if d := r.f.doubted; d > 0 {
		r.hold(time.Now().Add(d))
	}
}

// vouch tells that a master was found, at a time, to be the server that it was.
// So is the one behind its link, if that was there before. It never blocks.
func (f *feed) vouch(master string, at time.Time) {
	f.post(func() {
		for _, u := range f.ups {
			if u.name == master && u.suspected && u.link != nil && u.link.up && u.link.since.Before(at) {
				u.suspected = false
				for _, r := range f.rooms {
					switch {
					case r.sub.up != u || !r.replica.holding:
					case r.doubtful: // the nodes begin to write again only now
						r.hold(time.Now().Add(f.doubted))
					default:
						r.endHold()
					}
				}
				f.after(f.doubted, f.release)
			}
		}
	})
}
