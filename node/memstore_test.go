package node

import (
	"sync"
	"time"

	presence "presencesets"
)

// memStore is the naive twin of the store: one mutex, everything at once. It
// is here for what the real one cannot be made to show at will: an answer that
// comes late, or after the event, or never. The whole path is tested on a real
// Redis elsewhere.
type memStore struct {
	mu       sync.Mutex
	rooms    map[string]*memRoom
	sessions map[presence.ConnID]int64
	inc      int64
	edge     presence.Edge
	departed []presence.Departure
	detached []presence.Detachment
	released []presence.Detachment
	grace    bool               // keep the members of a lost connection
	replayed []*presence.Event  // what the next OpWatch with Replay tells
	replays  []presence.Replay  // that were asked for
	late     string             // whom the last Late asked
	resume   *presence.Restored // what the next OpResume finds; nil: nothing
	tracks   []string
	asked    []presence.Hold                    // what was to be reclaimed
	held     []func()                           // answers kept back
	hold     func(*presence.Op) bool            // keep the answer of this operation back
	ended    bool                               // no connection is this node's any more
	refuse   func(*presence.Op) *presence.Error // do not take it
}

type memRoom struct {
	rev     presence.Revision
	members map[presence.ConnID]*presence.Member
	sink    presence.RoomSink
	msgs    presence.RoomSink
}

func newMemStore() *memStore {
	return &memStore{rooms: make(map[string]*memRoom), sessions: make(map[presence.ConnID]int64)}
}

func (s *memStore) room(app, name string) *memRoom {
	r := s.rooms[app+":"+name]
	if r == nil {
		r = &memRoom{members: make(map[presence.ConnID]*presence.Member)}
		s.rooms[app+":"+name] = r
	}
	return r
}

func (s *memStore) change(r *memRoom, k presence.Kind, m *presence.Member, reason presence.Reason, data []byte) presence.Revision {
	prev := r.rev
	if r.rev == 0 {
		r.rev = presence.Revision(1_000_000 + s.inc*1000)
	}
	r.rev++
	rev := r.rev
	if k == presence.KindLeave {
		delete(r.members, m.Conn)
		if len(r.members) == 0 {
			prev, r.rev = r.rev-1, 0
			s.inc++
		}
	} else {
		m.Revision = rev
		r.members[m.Conn] = m
	}
	if r.sink != nil {
		r.sink.RoomEvent(&presence.Event{
			Kind: k, Revision: rev, Prev: prev, Conn: m.Conn, Time: 1_720_865_608_496,
			Reason: reason, At: m.At, Client: m.Client, Data: data,
		})
	}
	return rev
}

// Submit implements Store.
func (s *memStore) Submit(op *presence.Op) *presence.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		if err := s.refuse(op); err != nil {
			return err
		}
	}
	late := s.hold != nil && s.hold(op)
	op.Err, op.Unknown = nil, false
	r := s.room(op.App, op.Room)
	clone := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		return append([]byte{}, b...)
	}
	if s.ended {
		op.Err, op.Ended = presence.Errorf(presence.CodeFenced, "the connection is no longer this node's"), true
		op.Done.OpDone(op)
		return nil
	}
	switch op.Kind {
	case presence.OpOpen, presence.OpResume, presence.OpReclaim:
		s.inc++
		op.Restored, s.resume = s.resume, nil
		for i := range op.Holds {
			h := &op.Holds[i]
			s.asked = append(s.asked, *h)
			if m := s.room(op.App, h.Room).members[op.Conn]; m != nil {
				h.Revision, h.At = m.Revision, m.At
			}
		}
		s.sessions[op.Conn] = s.inc
		op.NewInc = s.inc
	case presence.OpTrack:
		s.tracks = append(s.tracks, op.Room+" "+op.Track)
	case presence.OpJoin, presence.OpUpdate:
		m, k := r.members[op.Conn], presence.KindUpdate
		switch {
		case m == nil && op.Kind == presence.OpUpdate:
			op.Err = presence.Errorf(presence.CodeNotMember, "not a member of room %q", op.Room)
		case m == nil && op.MaxMembers > 0 && len(r.members) >= op.MaxMembers:
			op.Err = presence.Errorf(presence.CodeLimit, "room is full").WithLimit(int64(op.MaxMembers))
		default:
			if m == nil {
				m, k = &presence.Member{Conn: op.Conn, At: 1_720_865_608_000 + s.inc}, presence.KindJoin
				s.inc++
			}
			m.Client, m.Data = clone(op.ClientJSON), clone(op.Data)
			op.Revision = s.change(r, k, m, "", m.Data)
			if op.Kind == presence.OpJoin {
				op.At = m.At
			}
		}
	case presence.OpLeave:
		op.Revision = 0
		if m := r.members[op.Conn]; m != nil {
			data := m.Data
			if op.Data != nil {
				data = clone(op.Data)
			}
			op.Revision = s.change(r, presence.KindLeave, m, op.Reason, data)
		}
	case presence.OpMembers:
		op.Revision = r.rev
		op.Snapshot = presence.Snapshot{Revision: r.rev}
		for _, m := range r.members {
			op.Snapshot.Members = append(op.Snapshot.Members, *m)
		}
	case presence.OpCount:
		op.Revision, op.Count = r.rev, int64(len(r.members))
	case presence.OpPublish:
		if r.msgs != nil {
			r.msgs.RoomMessage(clone(op.Data))
		}
	case presence.OpWatch:
		r.sink = op.Sink
		op.Revision = r.rev
		if op.Replay != nil {
			s.replays = append(s.replays, *op.Replay)
			op.Replayed, s.replayed = s.replayed, nil
		}
	case presence.OpWatchMessages:
		r.msgs = op.Sink
	}
	if late {
		s.held = append(s.held, func() { op.Done.OpDone(op) })
		return nil
	}
	op.Done.OpDone(op)
	return nil
}

// release sends the answers that were kept back.
func (s *memStore) release() {
	s.mu.Lock()
	held := s.held
	s.held, s.hold = nil, nil
	s.mu.Unlock()
	for _, f := range held {
		f()
	}
}

// Depart implements Store.
func (s *memStore) Depart(d presence.Departure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.departed = append(s.departed, d)
	delete(s.sessions, d.Conn)
	for _, r := range s.rooms {
		if m := r.members[d.Conn]; m != nil {
			s.change(r, presence.KindLeave, m, d.Reason, m.Data)
		}
	}
}

// Unwatch implements Store.
func (s *memStore) Unwatch(app, room string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room(app, room).sink = nil
}

// UnwatchMessages implements Store.
func (s *memStore) UnwatchMessages(app, room string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room(app, room).msgs = nil
}

// Ready implements Store.
func (s *memStore) Ready() []presence.Check {
	return []presence.Check{{Name: "store", OK: true, Since: time.Now()}}
}

// Attach implements Store.
func (s *memStore) Attach(e presence.Edge) { s.edge = e }

// Detach implements Store: unless grace is set, the grace is over at once.
func (s *memStore) Detach(d presence.Detachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detached = append(s.detached, d)
	delete(s.sessions, d.Conn)
	if s.grace {
		return
	}
	for _, r := range s.rooms {
		if m := r.members[d.Conn]; m != nil {
			s.change(r, presence.KindLeave, m, d.Reason, m.Data)
		}
	}
}

// gone is how many connections have ended here, in whatever way.
func (s *memStore) gone() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.departed) + len(s.detached)
}

// Release implements Store.
func (s *memStore) Release(d presence.Detachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = append(s.released, d)
}

// Late implements Store.
func (s *memStore) Late(conn presence.ConnID, from string, answer func(payloads [][]byte)) {
	s.mu.Lock()
	s.late = from
	s.mu.Unlock()
	s.edge.Late(conn, answer)
}
