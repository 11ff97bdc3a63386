package redisstore

import (
	"time"

	presence "presencesets"
)

// A list of a hosted room passes the loop before its reader gets it. The reader
// folds the events above the list's revision over it, so the replica must know
// of a list that is ahead of the events (resync.go), and a list that is older
// than what subscribers were last told in one piece is of no use and is read
// again. All others, nearly all, only pass.

// members submits an OpMembers. It never blocks; see [Store.Submit].
func (f *feed) members(op *presence.Op, submit func(*presence.Op) *presence.Error) *presence.Error {
	l := &listing{f: f, done: op.Done, submit: submit, asked: time.Now()}
	l.until = l.asked.Add(watchTimeout)
	op.Done = l
	if err := submit(op); err != nil {
		op.Done = l.done
		return err
	}
	return nil
}

// listing is an OpMembers on its way. It is the operation's completion until
// the list may be handed out.
type listing struct {
	f      *feed
	done   presence.Completion
	submit func(*presence.Op) *presence.Error
	asked  time.Time // before the read that is under way was submitted
	until  time.Time // no read again after this
}

func (l *listing) OpDone(op *presence.Op) {
	if op.Err != nil || !l.f.post(func() { l.pass(op) }) {
		l.finish(op)
	}
}

// pass is done on the loop.
func (l *listing) pass(op *presence.Op) {
	r := l.f.rooms[roomID{op.App, op.Room}]
	switch {
	case r == nil || !r.known:
		l.finish(op)
	case l.asked.After(r.asOf):
		r.replica.show(op.Snapshot)
		l.finish(op)
	default:
		l.again(op)
	}
}

func (l *listing) again(op *presence.Op) {
	now := time.Now()
	if now.After(l.until) {
		op.Err = presence.Errorf(presence.CodeUnavailable, "the room was read again and again without coming to rest")
		l.finish(op)
		return
	}
	l.asked = now
	op.Snapshot, op.Revision = presence.Snapshot{}, 0
	if err := l.submit(op); err != nil {
		op.Err = err
		l.finish(op)
	}
}

func (l *listing) finish(op *presence.Op) {
	op.Done = l.done
	op.Done.OpDone(op)
}
