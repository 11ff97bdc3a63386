package model

import (
	"fmt"
	"maps"
)

// Open makes the session of a new connection.
type Open struct {
	Conn             string
	MinInc           int64
	Stamp            string
	App, Key, Client string
	Grace            int64
	Secret           string
	ValidUntil       int64
}

// Track lists a room.
type Track struct {
	Conn            string
	Inc, ValidUntil int64
	Room            string
	Value           Listed
	Max             int
}

// Adopted has nothing adopted any more that is of an earlier incarnation.
type Adopted struct {
	Conn            string
	Inc, ValidUntil int64
}

// Untrack forgets a room, or with Room "" a fence that is over.
type Untrack struct {
	Conn       string
	Inc        int64
	Room       string
	ValidUntil int64
	OnlyLeft   bool // only where its flag is x
}

// Detach begins the grace of a connection that has lost its socket.
type Detach struct {
	Conn              string
	Inc, Grace, Fence int64
	Handed            map[string]int64 // room → revision
}

// Resume takes a connection over, or up again.
type Resume struct {
	Conn, App, Key, Client, Secret string
	Stamp, OldStamp                string
	ValidUntil, Newest             int64
	MinInc, FenceMS                int64
}

// Close begins the end of a connection.
type Close struct {
	Conn         string
	Inc, ClaimMS int64
	Why          string
	Fence        int64
}

// Run opens.
func (o Open) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	if s.Sessions[o.Conn] != nil {
		return "EXISTS"
	}
	inc := max(s.MS(), o.MinInc)
	s.index(o.Stamp, o.Conn, inc)
	s.Sessions[o.Conn] = &Session{
		App: o.App, Key: o.Key, Client: o.Client, Secret: o.Secret, Node: o.Stamp, Inc: inc, From: inc,
		State: "live", Grace: o.Grace, Rooms: map[string]Listed{},
	}
	return inc
}

// Run lists a room.
func (o Track) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	c := s.Sessions[o.Conn]
	if c == nil || c.Inc != o.Inc || c.State != "live" {
		return "FENCED inc"
	}
	if _, listed := c.Rooms[o.Room]; !listed && o.Max > 0 && len(c.Rooms) >= o.Max {
		return "FULL"
	}
	c.Rooms[o.Room] = o.Value
	return int64(1)
}

// Run lets no more be adopted.
func (o Adopted) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	c := s.Sessions[o.Conn]
	if c == nil || c.Inc != o.Inc || c.State != "live" {
		return "FENCED inc"
	}
	c.From = c.Inc
	return int64(1)
}

// anyLeft reports whether a room is listed that was left.
func (c *Session) anyLeft() bool {
	for _, l := range c.Rooms {
		if l.Flag == "x" {
			return true
		}
	}
	return false
}

// Run forgets a room, or a fence.
func (o Untrack) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	c := s.Sessions[o.Conn]
	if c == nil || c.Inc != o.Inc || o.Room == "" && c.State != "live" {
		return "FENCED inc"
	}
	l, listed := c.Rooms[o.Room]
	switch {
	case o.OnlyLeft && listed && l.Flag != "x":
	case s.MS() <= c.Fence, c.Fence > 0 && o.Room != "" && !o.OnlyLeft: // only the sweep leaves behind the fence
		if listed {
			l.Flag = "x"
			c.Rooms[o.Room] = l
		}
		return "LATER"
	case o.Room == "" && c.Fence > 0 && c.anyLeft():
		return "LATER"
	case o.Room == "":
		c.Fence = 0
	default:
		delete(c.Rooms, o.Room)
	}
	return int64(1)
}

// Run begins the grace.
func (o Detach) Run(s *State) any {
	c := s.Sessions[o.Conn]
	if c == nil || c.Inc != o.Inc || c.State != "live" {
		return int64(0)
	}
	c.State, c.Due, c.Fence = "grace", s.MS()+o.Grace, max(c.Fence, o.Fence)
	s.Due[o.Conn] = c.Due
	for room, rev := range o.Handed {
		if l, listed := c.Rooms[room]; listed {
			l.Rev = rev
			c.Rooms[room] = l
		}
	}
	if o.Grace > 0 {
		s.Grace[o.Conn] = Expiring{o.Inc, c.Due}
	}
	return c.Due
}

// Run takes a connection over, or up again.
func (o Resume) Run(s *State) any {
	if s.MS() > o.ValidUntil {
		return leaseOver
	}
	c := s.Sessions[o.Conn]
	switch {
	case c == nil:
		return "GONE"
	case c.App != o.App || c.Client != o.Client || c.State == "held" || c.Secret != "" && c.Secret != o.Secret:
		return "DENIED"
	case c.Inc > o.Newest:
		return "LATE"
	case c.State == "leaving" || c.State == "grace" && c.Due <= s.MS():
		return fmt.Sprintf("LEAVING %d", c.Inc)
	case c.Node != o.OldStamp:
		return "MOVED " + c.Node
	}
	was, state := c.Fields(), c.State
	c.Inc = max(o.MinInc, c.Inc+1, s.MS())
	s.unindex(c.Node, o.Conn)
	s.index(o.Stamp, o.Conn, c.Inc)
	switch state {
	case "live":
		c.Fence = max(c.Fence, s.MS()+o.FenceMS)
		s.publish("{c"+shard(o.Conn)+"}:ctl:"+c.Node, fmt.Sprintf("taken %s %d", o.Conn, c.Inc))
	case "away":
		c.From = c.Inc
		for room, l := range maps.Clone(c.Rooms) {
			switch {
			case c.Why != "closed" && c.Why != "kicked" && l.Flag != "x":
			case c.Fence == 0:
				delete(c.Rooms, room)
			default:
				l.Flag = "x"
				c.Rooms[room] = l
			}
		}
	}
	c.State, c.Node, c.Key, c.Due, c.Why = "live", o.Stamp, o.Key, 0, ""
	delete(s.Grace, o.Conn)
	if state != "live" {
		delete(s.Due, o.Conn)
	}
	return []any{c.Inc, c.Fence, state, was}
}

// Run begins the end.
func (o Close) Run(s *State) any {
	c := s.Sessions[o.Conn]
	if c == nil || c.Inc != o.Inc {
		return map[string]string{}
	}
	switch c.State {
	case "leaving":
	case "live", "held":
		s.Due[o.Conn] = s.MS() + o.ClaimMS
		c.State, c.Why, c.Fence = "leaving", o.Why, max(c.Fence, o.Fence)
		delete(s.Grace, o.Conn)
	default:
		return map[string]string{}
	}
	return c.Fields()
}
