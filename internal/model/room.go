package model

import "fmt"

// Join makes a connection a member, or replaces its data.
type Join struct {
	ValidUntil, Floor int64
	Stamp             string
	Max               int
	Room, Conn        string
	Inc               int64
	Retry             bool
	Client, Data      string
}

// Update replaces a member's data.
type Update Join

// Assert is a join that is silent where the room is exact, and makes anew the
// membership that began at At; 0: that is not known.
type Assert struct {
	Join
	At int64
}

// Leave ends a membership.
type Leave struct {
	ValidUntil, Floor int64
	Room, Conn        string
	Inc               int64
	Reason, Data      string
}

// Adopt puts a membership under a new incarnation and node.
type Adopt struct {
	ValidUntil int64
	Stamp      string
	Room, Conn string
	Inc, From  int64
}

// Mark lifts a room's revision.
type Mark struct {
	ValidUntil int64
	Room       string
	Floor      int64
}

const leaseOver = Refused("FENCED lease")

// Run joins.
func (o Join) Run(s *State) any {
	refused, rev, at := o.run(s)
	if refused != nil {
		return refused
	}
	return []any{fmt.Sprintf("%d %d", rev, at)}
}

func (o Join) run(s *State) (refused any, rev, at int64) {
	return s.put(o, 0, func(old Member) bool {
		return o.Retry && old.Inc == o.Inc && old.Client == o.Client && old.Data == o.Data
	})
}

// Run updates.
func (o Update) Run(s *State) any {
	if r := s.Rooms[o.Room]; s.MS() <= o.ValidUntil && (r == nil || r.Members[o.Conn].Rev == 0) {
		return []any{"ABSENT"}
	}
	refused, rev, _ := Join(o).run(s)
	if refused != nil {
		return refused
	}
	return []any{rev}
}

// Run asserts.
func (o Assert) Run(s *State) any {
	refused, rev, _ := s.put(o.Join, o.At, func(old Member) bool {
		return old.Inc == o.Inc && old.Client == o.Client && old.Data == o.Data
	})
	if refused != nil {
		return refused
	}
	return []any{rev}
}

// put writes a member, unless same says that it need not. A new one is since
// `since`; 0: since now. refused is the answer instead of the others.
func (s *State) put(o Join, since int64, same func(Member) bool) (refused any, rev, at int64) {
	if s.MS() > o.ValidUntil {
		return leaseOver, 0, 0
	}
	r := s.Rooms[o.Room]
	if r == nil {
		r = &Room{Members: map[string]Member{}}
	}
	old, is := r.Members[o.Conn]
	at, kind := s.MS(), "join"
	switch {
	case is && old.Inc > o.Inc:
		return []any{"FENCED inc"}, 0, 0
	case is && same(old):
		return nil, 0, old.At
	case is:
		at, kind = old.At, "update"
	case o.Max > 0 && len(r.Members) >= o.Max:
		return []any{"FULL"}, 0, 0
	case since != 0:
		at = since
	}
	s.Rooms[o.Room] = r
	prev := r.Rev
	m := Member{s.next(r, o.Floor), o.Inc, o.Stamp, at, o.Client, o.Data}
	r.Members[o.Conn] = m
	s.event(kind, o.Room, r.Rev, prev, o.Conn, "-", m.String())
	return nil, m.Rev, at
}

// next moves a room to its next revision.
func (s *State) next(r *Room, floor int64) int64 {
	if r.Rev == 0 {
		r.Rev = s.Now
	} else {
		r.Rev++
	}
	r.Rev = max(r.Rev, floor)
	return r.Rev
}

func (s *State) event(kind, room string, rev, prev int64, conn, reason, member string) {
	s.publish("{"+room+"}:feed", fmt.Sprintf("%s %d %d %s %d %s %s", kind, rev, prev, conn, s.MS(), reason, member))
}

// Run leaves.
func (o Leave) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	r := s.Rooms[o.Room]
	if r == nil {
		return []any{int64(0)}
	}
	old, is := r.Members[o.Conn]
	if !is {
		return []any{int64(0)}
	}
	if old.Inc > o.Inc {
		return []any{"FENCED inc"}
	}
	prev := r.Rev
	rev := s.next(r, o.Floor)
	if delete(r.Members, o.Conn); len(r.Members) == 0 {
		delete(s.Rooms, o.Room)
	}
	if o.Data != "" {
		old.Data = o.Data
	}
	s.event("leave", o.Room, rev, prev, o.Conn, o.Reason, old.String())
	return []any{rev}
}

// Run adopts.
func (o Adopt) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	r := s.Rooms[o.Room]
	if r == nil {
		return []any{int64(0)}
	}
	m, is := r.Members[o.Conn]
	switch {
	case !is:
		return []any{int64(0)}
	case m.Inc > o.Inc:
		return []any{"FENCED inc"}
	case m.Inc < o.From:
		return []any{"OLD"}
	}
	m.Inc, m.Node = o.Inc, o.Stamp
	r.Members[o.Conn] = m
	return []any{m.String()}
}

// Run marks.
func (o Mark) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	r := s.Rooms[o.Room]
	if r == nil {
		return []any{int64(0)}
	}
	if prev := r.Rev; prev < o.Floor {
		r.Rev = o.Floor
		s.event("mark", o.Room, r.Rev, prev, "-", "-", "-")
	}
	return []any{r.Rev}
}
