package redisstore

import (
	"slices"
	"time"

	presence "presencesets"
)

// audience is who receives a channel, and who waits to. It belongs to a hosted
// room or a listener, and to the loop.
type audience struct {
	f       *feed
	sub     *subscription
	sink    presence.RoomSink // nil: nobody; the channel lingers
	waiting []*waiter
	acked   bool        // a watch was answered well since the sink came
	linger  *time.Timer // to the end of the subscription; nil while there is a sink
	keep    time.Time   // it does not end before
	gone    bool        // ended: it is in no map any more
	forget  func()      // takes it out of its map
}

// waiter is a watch without an answer.
type waiter struct {
	op     *presence.Op
	timer  *time.Timer       // refuses it
	handed presence.Revision // of a replay from the room's members: what is told is above it
}

// attend gives the channel op's sink. The caller answers op or lets it wait.
func (a *audience) attend(op *presence.Op) {
	a.sink = op.Sink
	if a.linger != nil {
		a.linger.Stop()
		a.linger = nil
	}
}

// wait keeps op until answer, refuse, or its time is over.
func (a *audience) wait(op *presence.Op, submitted time.Time) *waiter {
	w := &waiter{op: op}
	w.timer = a.f.after(watchTimeout-time.Since(submitted), func() { a.expire(w) })
	a.waiting = append(a.waiting, w)
	return w
}

func (a *audience) expire(w *waiter) {
	if a.take(w) {
		refuse(w.op, presence.Errorf(presence.CodeUnavailable, "redis did not answer in time"))
		a.abandon()
	}
}

// take has w wait no longer; false when it does not any more.
func (a *audience) take(w *waiter) bool {
	i := slices.Index(a.waiting, w)
	if i < 0 {
		return false
	}
	a.waiting = slices.Delete(a.waiting, i, i+1)
	w.timer.Stop()
	return true
}

// abandon releases the channel when everyone who asked for it was refused.
func (a *audience) abandon() {
	if len(a.waiting) == 0 && !a.acked {
		a.release()
	}
}

// answer answers everyone who waits.
func (a *audience) answer(rev presence.Revision) {
	for _, w := range a.takeWaiting() {
		a.succeed(w.op, rev)
	}
}

func (a *audience) succeed(op *presence.Op, rev presence.Revision) {
	a.acked = a.acked || a.sink != nil
	op.Revision = rev
	op.Done.OpDone(op)
}

// refuseAll answers everyone who waits with an error.
func (a *audience) refuseAll(e *presence.Error) {
	for _, w := range a.takeWaiting() {
		refuse(w.op, e)
	}
	a.abandon()
}

func (a *audience) takeWaiting() []*waiter {
	list := a.waiting
	a.waiting = nil
	for _, w := range list {
		w.timer.Stop()
	}
	return list
}

func refuse(op *presence.Op, e *presence.Error) {
	copied := *e // a field or limit that one caller adds is not the others'
	op.Err = &copied
	op.Done.OpDone(op)
}

// release drops the sink and lets the subscription linger.
func (a *audience) release() {
	a.sink, a.acked = nil, false
	if a.linger != nil || a.gone || a.f.closing {
		return
	}
	a.endAfter(max(a.f.linger, time.Until(a.keep)))
}

// endAfter ends the subscription after d, unless a watch comes in between. Who
// wants it kept longer meanwhile gets what is missing.
func (a *audience) endAfter(d time.Duration) {
	var t *time.Timer
	t = a.f.after(d, func() {
		if a.linger != t || a.gone {
			return
		}
		if left := time.Until(a.keep); left > 0 {
			a.endAfter(left)
			return
		}
		a.end()
	})
	a.linger = t
}

// end unsubscribes. Who still waits has come and gone while it lingered.
func (a *audience) end() {
	a.gone = true
	a.f.unsubscribe(a.sub)
	a.forget()
	a.refuseAll(presence.Errorf(presence.CodeUnavailable, "nobody watches the room any more"))
}

// close answers who waits: the feed ends.
func (a *audience) close() {
	if a.linger != nil {
		a.linger.Stop()
	}
	a.refuseAll(errFeedClosed())
}
