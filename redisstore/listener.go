package redisstore

import (
	"time"

	presence "presencesets"
)

// listener passes a room's messages on. They have no revision and are stored
// nowhere: what is published while the link is away is not delivered.
type listener struct {
	audience
}

// listen begins or continues to listen to op's room.
func (f *feed) listen(op *presence.Op, submitted time.Time) {
	if f.closing {
		refuse(op, errFeedClosed())
		return
	}
	id := roomID{op.App, op.Room}
	l := f.messages[id]
	if l == nil {
		l = &listener{audience{f: f, forget: func() { delete(f.messages, id) }}}
		f.messages[id] = l
		l.sub = f.subscribe(f.keys.messages(op.App, op.Room), l)
	}
	l.attend(op)
	if l.sub.on {
		l.succeed(op, 0)
		return
	}
	l.wait(op, submitted)
}

func (l *listener) confirmed(string) { l.answer(0) }

func (l *listener) message(payload string) {
	if l.sink != nil {
		l.sink.RoomMessage([]byte(payload))
	}
}
