package redisstore

import (
	"time"

	presence "presencesets"
)

// Up to where a socket was told what happened in its rooms, for whoever goes on
// from there.
//
// A lost socket's revisions are written into its session (detach.go). One that
// was taken over wrote nothing; this node keeps them for the grace, for whoever
// has the connection now: it asks `replay … -`, which may come before the old
// socket knows that it was taken. Then the question waits for it.
//
// The revisions are stepped back over what the peer's TCP did not take, and its
// rooms stay hosted, so that their rings are there when somebody asks.

// recallTime is how long a question waits for the old socket.
const recallTime = 400 * time.Millisecond

// handovers are the sockets that were taken over. Owned by the loop.
type handovers struct {
	of      map[presence.ConnID]*handover
	waiting map[presence.ConnID][]*recall
}

type handover struct {
	inc   int64
	rooms map[roomID]presence.Revision
}

// recall is a question that waits.
type recall struct {
	room roomID
	then func(presence.Revision) // 0: it is not known
	done bool
}

// Release says that another socket has the connection: this one is forgotten.
// Nothing is written. What it had been handed is kept for the grace, for the
// node that asks. It never blocks.
func (s *Store) Release(d presence.Detachment) {
	s.sessions.Add(-1)
	// What waits of it is not sent. What was sent and not answered is settled as
	// ever: another socket of this node may have the connection, and has its own.
	s.departed.add(d.Conn, d.Inc, s.clock())
	s.feed.keep(d.App, handedRooms(d.Handed), d.Grace)
	s.feed.covering(d.Handed, d.App, d.Unsent, func(list []presence.Handed) {
		s.feed.handOver(d.App, d.Conn, d.Inc, list, d.Grace)
	})
}

func handedRooms(list []presence.Handed) []string {
	rooms := make([]string, len(list))
	for i := range list {
		rooms[i] = list[i].Room
	}
	return rooms
}

// keep has rooms that are hosted stay so for d at least. It never blocks.
func (f *feed) keep(app string, rooms []string, d time.Duration) {
	if len(rooms) == 0 {
		return
	}
	until := time.Now().Add(d + opLife)
	f.post(func() {
		for _, room := range rooms {
			if r := f.rooms[roomID{app, room}]; r != nil && r.keep.Before(until) {
				r.keep = until
			}
		}
	})
}

// covering steps the revisions of list back over events until they cover the
// last unsent bytes that a socket was sent, and calls then with the result, on
// the loop; at once, and with list as it is, when the feed is closed. It never
// blocks.
func (f *feed) covering(list []presence.Handed, app string, unsent int, then func([]presence.Handed)) {
	if !f.post(func() {
		back := make([]presence.Handed, len(list))
		for i, h := range list {
			back[i] = h
			if r := f.rooms[roomID{app, h.Room}]; r != nil && r.known {
				back[i].Revision = r.past.back(h, unsent, r.frame)
			}
		}
		then(back)
	}) {
		then(list)
	}
}

// frameLeast is what the frame of an event has at least beside the names, the
// client and the data: {"type":"…:$:presence:join","body":{"event":"join",
// "timestamp":"2026-01-01T00:00:00.000Z","id":"…","revision":…}}.
const frameLeast = 128

// frame is the least that an event of the room is on a socket.
func (r *hosted) frame(e *presence.Event) int {
	return frameLeast + len(r.id.app) + len(r.id.room) + len(e.Client) + len(e.Data)
}

// handOver keeps up to where conn's socket was told what happened. It is called
// on the loop, or when the feed is closed.
func (f *feed) handOver(app string, conn presence.ConnID, inc int64, list []presence.Handed, grace time.Duration) {
	if f.closing {
		return
	}
	if old := f.handovers.of[conn]; old != nil && old.inc > inc {
		return
	}
	h := &handover{inc: inc, rooms: make(map[roomID]presence.Revision, len(list))}
	for _, l := range list {
		if l.Revision > 0 {
			h.rooms[roomID{app, l.Room}] = l.Revision
		}
	}
	f.handovers.of[conn] = h
	f.after(grace+opLife, func() {
		if f.handovers.of[conn] == h {
			delete(f.handovers.of, conn)
		}
	})
	waiting := f.handovers.waiting[conn]
	delete(f.handovers.waiting, conn)
	for _, w := range waiting {
		f.answerRecall(w, h.rooms[w.room])
	}
}

func (f *feed) answerRecall(w *recall, rev presence.Revision) {
	if !w.done {
		w.done = true
		w.then(rev)
	}
}

// recall calls then with the revision up to which conn's old socket was told
// what happened in the room, once; 0 where that does not become known. What was
// asked for is given away: the next to ask asks about another socket.
func (f *feed) recall(conn presence.ConnID, room roomID, then func(presence.Revision)) {
	if h := f.handovers.of[conn]; h != nil && h.rooms[room] > 0 {
		rev := h.rooms[room]
		delete(h.rooms, room)
		then(rev)
		return
	}
	w := &recall{room: room, then: then}
	f.handovers.waiting[conn] = append(f.handovers.waiting[conn], w)
	f.after(recallTime, func() {
		if w.done {
			return
		}
		list := f.handovers.waiting[conn]
		for i := range list {
			if list[i] == w {
				list = append(list[:i], list[i+1:]...)
				break
			}
		}
		if f.handovers.waiting[conn] = list; len(list) == 0 {
			delete(f.handovers.waiting, conn)
		}
		f.answerRecall(w, 0)
	})
}

// taken passes on that another socket has the connection.
func (f *feed) taken(conn presence.ConnID, inc int64) { f.edge.Taken(conn, inc) }
