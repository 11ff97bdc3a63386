package model

import "fmt"

// Claim takes connections that are due, so that they leave. None is in it
// twice.
type Claim struct {
	ClaimMS int64
	Conns   []string
}

// Finish ends a round of leaves.
type Finish struct {
	Claimed int64
	Ends    []End
}

// End is one connection of a Finish.
type End struct {
	Conn           string
	Inc, Retention int64
	Node           string
}

// Orphan begins the grace of connections whose node is gone.
type Orphan struct {
	Stamp, Why           string
	LeaseEnd, TTL, Grace int64
	Conns                []string
}

// Register takes a new stamp.
type Register struct {
	Node  string
	TTL   int64
	Value string
}

// Beat renews a lease.
type Beat struct {
	Stamp string
	TTL   int64
	Value string
}

// Condemn takes the right to write away from a stamp whose lease is over.
type Condemn struct {
	Stamp         string
	Skew, ClaimMS int64
}

// Retire gives a stamp up.
type Retire struct {
	Stamp        string
	TTL, ClaimMS int64
}

// Bury forgets a condemned stamp.
type Bury struct{ Stamp string }

// Run claims.
func (o Claim) Run(s *State) any {
	results := []any{s.MS()}
	for _, conn := range o.Conns {
		deadline, listed := s.Due[conn]
		if !listed || deadline > s.MS() {
			continue
		}
		c := s.Sessions[conn]
		switch {
		case c == nil || c.State == "live":
			delete(s.Due, conn)
		case c.State == "away" && c.Fence == 0:
			was := c.Fields()
			was["state"] = "gone"
			delete(s.Sessions, conn)
			delete(s.Due, conn)
			results = append(results, conn, was)
		default:
			if c.Why == "" && c.State == "held" {
				c.Why = "expired"
			} else if c.Why == "" {
				c.Why = "timeout"
			}
			c.State = "leaving"
			s.Due[conn] = s.MS() + o.ClaimMS
			delete(s.Grace, conn)
			results = append(results, conn, c.Fields())
		}
	}
	return results
}

// Run finishes.
func (o Finish) Run(s *State) any {
	results := []any{}
	for _, e := range o.Ends {
		results = append(results, s.finish(o.Claimed, e))
	}
	return results
}

func (s *State) finish(claimed int64, e End) any {
	c := s.Sessions[e.Conn]
	if c == nil || c.Inc != e.Inc || c.State != "leaving" {
		return int64(0)
	}
	s.unindex(e.Node, e.Conn)
	switch {
	case c.Fence > 0 && claimed <= c.Fence:
		c.State, s.Due[e.Conn] = "away", c.Fence
	case e.Retention > 0 && c.Why != "closed" && c.Why != "kicked" && c.Why != "expired" && len(c.Rooms) > 0:
		c.State, c.Fence, s.Due[e.Conn] = "away", 0, s.MS()+e.Retention
	default:
		delete(s.Sessions, e.Conn)
		delete(s.Due, e.Conn)
		return "gone"
	}
	return "away"
}

// Run orphans.
func (o Orphan) Run(s *State) any {
	count := int64(0)
	for _, conn := range o.Conns {
		s.unindex(o.Stamp, conn)
		c := s.Sessions[conn]
		if c == nil || c.State != "live" || c.Node != o.Stamp {
			continue
		}
		grace := c.Grace
		if o.Grace > 0 {
			grace = o.Grace
		}
		c.State, c.Why, c.Due = "grace", o.Why, o.LeaseEnd+max(0, grace-o.TTL)
		s.Due[conn] = c.Due
		if c.Due > s.MS() {
			s.Grace[conn] = Expiring{c.Inc, c.Due}
		}
		count++
	}
	return count
}

// Run registers.
func (o Register) Run(s *State) any {
	s.Epochs[o.Node]++
	stamp := fmt.Sprintf("%s.%d", o.Node, s.Epochs[o.Node])
	s.NodesDue[stamp], s.Registry[stamp] = s.MS()+o.TTL, o.Value
	return []any{stamp, s.MS()}
}

// Run beats.
func (o Beat) Run(s *State) any {
	if _, known := s.Registry[o.Stamp]; !known {
		return Refused("FENCED stamp")
	}
	end := s.MS() + o.TTL
	s.Registry[o.Stamp], s.NodesDue[o.Stamp], s.Leases[o.Stamp] = o.Value, end, Expiring{s.MS(), end}
	return []any{s.MS(), end}
}

// Run condemns.
func (o Condemn) Run(s *State) any {
	if c, is := s.Reaping[o.Stamp]; is {
		return s.reaped(o.Stamp, c, o.ClaimMS)
	}
	end, listed := s.NodesDue[o.Stamp]
	if _, alive := s.Leases[o.Stamp]; alive || !listed || end+o.Skew >= s.MS() {
		return int64(0)
	}
	return s.condemn(o.Stamp, end, o.ClaimMS)
}

// Run retires.
func (o Retire) Run(s *State) any {
	if c, is := s.Reaping[o.Stamp]; is {
		return s.reaped(o.Stamp, c, o.ClaimMS)
	}
	if _, known := s.Registry[o.Stamp]; !known {
		return int64(0)
	}
	delete(s.Leases, o.Stamp)
	return s.condemn(o.Stamp, s.MS()+o.TTL, o.ClaimMS)
}

func (s *State) condemn(stamp string, end, claimMS int64) int64 {
	delete(s.Registry, stamp)
	s.Reaping[stamp] = Condemned{end, s.MS()}
	s.NodesDue[stamp] = s.MS() + claimMS
	return end
}

// reaped is the answer about a stamp that somebody condemned before.
func (s *State) reaped(stamp string, c Condemned, claimMS int64) int64 {
	if deadline, listed := s.NodesDue[stamp]; !listed || deadline <= s.MS() {
		s.NodesDue[stamp] = s.MS() + claimMS
	}
	return c.LeaseEnd
}

// Run buries.
func (o Bury) Run(s *State) any {
	if _, is := s.Reaping[o.Stamp]; !is {
		return int64(0)
	}
	delete(s.Reaping, o.Stamp)
	delete(s.NodesDue, o.Stamp)
	return int64(1)
}
