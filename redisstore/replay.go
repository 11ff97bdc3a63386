package redisstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	presence "presencesets"
)

// A subscription that is resumed. Before it is live it is told what its socket
// missed: what this or another node told since, or what the room's members show.
//
//	watch ──▶ hosted ──▶ own ring reaches back ───────────────────▶ answer
//	                 └─▶ the old node's ring, own ring behind it ──▶ answer
//	                 └─▶ snapshot, own ring behind it ─────────────▶ answer
//
// The answer is put together and given in one turn of the loop, so that
// Replayed ends where the events that go to the sink begin. The old node's
// events end at a revision P up to which it told everything; ours go on from P
// when P is between two of our steps (ring.go). It is no lower than our own
// first snapshot: the question was published after that was read, so the old
// node's link brought it every event that the snapshot holds, and then the
// question.
//
// A snapshot has no leaves. A member that is newer than what the socket was told
// joined if its join is after the loss, and was updated if it is not. Where it is
// not known what the socket was told, only joins are: what may have come twice
// would be everything.

// askTime is for how long another node may take to say what it told.
const askTime = 500 * time.Millisecond

// replay begins to put together what w's op must be told first. The room is
// known.
func (r *hosted) replay(w *waiter) {
	f, from := r.f, w.op.Replay
	own := from.From == "" || f.ctl.own(from.From)
	switch {
	case from.Handed > 0 && (own || from.Handed != emptyRoom) && r.replayRing(w, from.Handed):
	case own && from.Handed > 0:
		r.settled(w, func() {
			if !r.replayRing(w, from.Handed) {
				r.replayMembers(w, from.Handed)
			}
		})
	case own && from.From != "":
		f.recall(from.Conn, r.id, func(handed presence.Revision) {
			if handed == 0 || !r.replayRing(w, handed) {
				r.replayMembers(w, handed)
			}
		})
	case own:
		r.replayMembers(w, 0)
	default:
		r.askPeer(w, from.Handed)
	}
}

// settled does do when every event has come that was published until now, if w
// still waits then. An event that another node told may still be on its way.
func (r *hosted) settled(w *waiter, do func()) {
	done := false
	once := func() {
		if !done && slices.Contains(r.waiting, w) {
			done = true
			do()
		}
	}
	r.sub.up.barrier(once)
	r.f.after(askTime, once) // the link may end before
}

// replayRing answers w from the own ring; false where that does not reach back.
func (r *hosted) replayRing(w *waiter, handed presence.Revision) bool {
	events, ok := r.past.after(handed, r.replica.last)
	if ok {
		r.replayed(w, events, r.replica.last, "ring")
	}
	return ok
}

// replayed answers w. A replay of nothing counts as such.
func (r *hosted) replayed(w *waiter, events []*presence.Event, at presence.Revision, source string) {
	if !r.take(w) {
		return
	}
	if len(events) == 0 {
		source = "none"
	}
	r.f.metrics.Replays.WithLabelValues(source).Inc()
	w.op.Replayed = events
	r.succeed(w.op, at)
}

// welcome answers everyone who waits for the room to be known.
func (r *hosted) welcome() {
	for _, w := range slices.Clone(r.waiting) {
		switch {
		case w.op.Replay != nil:
			r.replay(w)
		case r.take(w):
			r.succeed(w.op, r.replica.last)
		}
	}
}

// askPeer asks the node that had the connection. handed 0: it may know.
func (r *hosted) askPeer(w *waiter, handed presence.Revision) {
	from := w.op.Replay
	rest := " " + r.id.app + ":" + r.id.room + " -"
	if handed > 0 {
		rest = rest[:len(rest)-1] + strconv.FormatInt(int64(handed), 10)
	}
	r.f.ask(question{word: "replay", to: from.From, conn: from.Conn, rest: rest, wait: askTime, then: func(text []byte, ok bool) {
		if !slices.Contains(r.waiting, w) {
			return
		}
		var a account
		if ok {
			var err error
			if a, err = parseAccount(string(text)); err != nil {
				r.f.complain("another node's answer has an unknown form", r.id, err)
				a = account{}
			}
		}
		r.heard(w, max(handed, a.handed), a)
	}})
}

// heard is told what the old node told after handed.
func (r *hosted) heard(w *waiter, handed presence.Revision, a account) {
	join := func() bool {
		events, at, ok := r.past.behind(a.last, r.replica.last)
		if ok {
			source := "peer"
			if len(a.events) == 0 {
				source = "ring"
			}
			r.replayed(w, slices.Concat(a.events, events), at, source)
		}
		return ok
	}
	switch {
	case a.told && join():
	case a.told:
		r.settled(w, func() {
			if !join() {
				r.replayMembers(w, handed)
			}
		})
	case handed > 0 && r.replayRing(w, handed):
	default:
		r.replayMembers(w, handed)
	}
}

// account is what a node told in a room:
//
//	told <last>       everything up to last, in the lines that follow: events as
//	                  Redis publishes them (line.go)
//	handed <rev>      the socket was handed rev; what came after it is not known
type account struct {
	told   bool
	last   presence.Revision // 0: the room was empty all the time
	handed presence.Revision // 0: it is not known
	events []*presence.Event
}

var errAccount = errors.New("it is no account of a room")

func parseAccount(text string) (a account, err error) {
	head, rest, more := strings.Cut(text, "\n")
	word, digits, _ := strings.Cut(head, " ")
	n, ok := parseDecimal([]byte(digits))
	if !ok || n > maxRevision || word != "told" && word != "handed" {
		return a, errAccount
	}
	if word == "handed" {
		a.handed = presence.Revision(n)
		return a, nil
	}
	a.told, a.last = true, presence.Revision(n)
	if !more {
		return a, nil
	}
	lines := bytes.Split([]byte(rest), []byte{'\n'})
	a.events = make([]*presence.Event, len(lines))
	var before presence.Revision
	for i, line := range lines {
		e, err := parseEvent(line)
		switch {
		case err != nil:
			return account{}, err
		case e.Revision < before || e.Revision > a.last:
			return account{}, errAccount
		}
		a.events[i], before = &e, e.Revision
	}
	return a, nil
}

// answerReplay answers what another node asks: what was told in the room after
// handed, or (0) after what the connection's old socket was handed.
func (f *feed) answerReplay(q asked, room roomID, handed presence.Revision) {
	answer := func() {
		if handed == 0 {
			f.recall(q.conn, room, func(handed presence.Revision) { f.answer(q, f.account(room, handed)) })
			return
		}
		f.answer(q, f.account(room, handed))
	}
	// Whoever asks has read the room, and what it read must have been told here
	// too. Where room and connection are on one master the question came behind it.
	if r := f.rooms[room]; r != nil && r.sub.up != f.ctl.shards[q.conn.Shard()].sub.up {
		r.sub.up.barrier(answer)
		return
	}
	answer()
}

func (f *feed) account(room roomID, handed presence.Revision) []byte {
	if r := f.rooms[room]; r != nil && r.known && handed > 0 {
		if events, ok := r.past.after(handed, r.replica.last); ok {
			text := strconv.AppendInt([]byte("told "), int64(r.replica.last), 10)
			for _, e := range events {
				text = appendEvent(append(text, '\n'), e)
			}
			return text
		}
	}
	return strconv.AppendInt([]byte("handed "), int64(handed), 10)
}

// replayMembers answers w from the room's members: there is nobody who told
// what came after handed. 0: it is not known what the socket was told.
func (r *hosted) replayMembers(w *waiter, handed presence.Revision) {
	if !slices.Contains(r.waiting, w) {
		return
	}
	if !r.newer(handed, w.op.Replay.Lost) {
		r.replayed(w, nil, r.replica.last, "none")
		return
	}
	w.handed = handed
	r.wanting = append(r.wanting, w)
	r.f.lists.push(r)
}

// scanMost is how many members are looked at before the room is read.
const scanMost = 1000

// newer reports whether a member may be newer than what a socket was told.
func (r *hosted) newer(handed presence.Revision, lost int64) bool {
	switch {
	case handed == 0 && lost == 0:
		return false
	case r.reading || len(r.replica.members) > scanMost:
		return true
	}
	for _, m := range r.replica.members {
		if isNewer(m.rev, m.at, handed, lost) {
			return true
		}
	}
	return false
}

func isNewer(rev presence.Revision, at int64, handed presence.Revision, lost int64) bool {
	if handed == 0 {
		return lost > 0 && at > lost
	}
	return rev > handed
}

// listQueue is the rooms that are read for those who resume in them: one read
// of a room at a time, for all who wanted it by then.
type listQueue struct {
	rooms  []*hosted
	flying int
}

func (q *listQueue) push(r *hosted) {
	if !r.listed {
		r.listed = true
		q.rooms = append(q.rooms, r)
	}
}

// startLists sends as many reads as may be on their way.
func (f *feed) startLists() {
	for f.lists.flying < readsMost && len(f.lists.rooms) > 0 {
		r := f.lists.rooms[0]
		f.lists.rooms[0] = nil
		f.lists.rooms = f.lists.rooms[1:]
		wanting := r.wanting
		r.wanting = nil
		f.lists.flying++
		asked := time.Now()
		f.beside(func(ctx context.Context) func() {
			ctx, cancel := context.WithTimeout(ctx, readTimeout)
			defer cancel()
			snap, err := f.store.readRoom(ctx, r.id.app, r.id.room)
			return func() { r.haveList(wanting, snap, asked, err) }
		})
	}
}

// haveList answers those who wanted the room's members.
func (r *hosted) haveList(wanting []*waiter, snap presence.Snapshot, asked time.Time, err error) {
	r.listed = false
	r.f.lists.flying--
	if len(r.wanting) > 0 {
		r.f.lists.push(r)
	}
	own, ok := r.past.after(snap.Revision, r.replica.last)
	at := r.replica.last
	switch {
	case r.gone:
		return // they were refused
	case err != nil || !asked.After(r.asOf):
		ok = false
	case snap.Revision > r.replica.last:
		r.replica.show(snap)
		at, own, ok = snap.Revision, nil, true
	case snap.Revision == 0: // of no use, but that nobody is there
		ok = r.replica.live() == 0
	}
	if !ok { // too old, or Redis did not answer: once more, until they are refused
		r.f.after(retryMin, func() {
			for _, w := range wanting {
				r.replayMembers(w, w.handed)
			}
		})
		return
	}
	for _, w := range wanting {
		events := newcomers(snap, w.handed, w.op.Replay.Lost)
		r.replayed(w, slices.Concat(events, own), at, "snapshot")
	}
}

// newcomers are the members of list that are newer than what a socket was told,
// as events in the order of their revisions.
func newcomers(list presence.Snapshot, handed presence.Revision, lost int64) []*presence.Event {
	var events []*presence.Event
	for i := range list.Members {
		m := &list.Members[i]
		if !isNewer(m.Revision, m.At, handed, lost) {
			continue
		}
		e := &presence.Event{
			Kind: presence.KindUpdate, Revision: m.Revision, Conn: m.Conn, Time: m.At,
			At: m.At, Inc: m.Inc, Client: m.Client, Data: m.Data,
		}
		if m.At > lost {
			e.Kind = presence.KindJoin
		}
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b *presence.Event) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), bytes.Compare(a.Conn[:], b.Conn[:]))
	})
	for i := range events {
		if i > 0 {
			events[i].Prev = events[i-1].Revision
		}
	}
	return events
}
