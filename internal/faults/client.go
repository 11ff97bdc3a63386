package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

// client is one of those who come, change, go, are lost and come back. It
// behaves as the public client does, but that it asks again what was refused
// for a while, until it knows: so that each membership is certain.
type client struct {
	f       *field
	name    string
	node    int // of its socket, or of the next attempt
	frail   bool
	sock    *socket
	id      string // connectionId, from the first first frame on
	seats   []*seat
	todo    []*request // what it will ask, one after the other
	cur     *request   // asked, and not answered for good
	phase   phase
	attempt int       // of connecting
	lost    time.Time // when its socket was lost; zero: it is not
}

type phase uint8

const (
	away    phase = iota // no socket, and it will try
	dialing              // no first frame yet
	on
	gone // for good
)

type request struct {
	op    string
	seat  *seat
	data  string
	ackID string
	first time.Time // asked for the first time
	asked time.Time // this attempt
	moved bool      // its socket was lost before it was answered
	tries int
	last  string // how the last attempt was refused
}

const (
	opRoom   = "room:join"
	opJoin   = "room:presence:join"
	opUpdate = "room:presence:update"
	opLeave  = "room:presence:leave"
)

func (c *client) query() string {
	q := "apiKey=" + url.QueryEscape(apiKey) + "&clientId=" + c.name
	if c.id != "" {
		q += "&connectionId=" + url.QueryEscape(c.id)
	}
	return q
}

// connect dials a node that is thought to be there.
func (c *client) connect() {
	if c.phase == gone {
		return
	}
	c.phase = dialing
	c.node = c.f.pick(c.node)
	addr := c.f.nodes[c.node].addr
	if c.frail {
		addr = c.f.nodes[c.node].edge.Addr()
	}
	c.f.dialing++
	c.f.st.dial(addr, c.query(), func(k *socket, err error) {
		c.f.dialing--
		var no *refused
		switch {
		case err != nil && c.phase == gone:
		case errors.As(err, &no) && no.status != 503 && no.status != 429:
			c.f.violate("a connect is refused for good", "%s %s at n%d: %v", c.name, c.id, c.node+1, err)
			c.die()
		case err != nil:
			c.again(err)
		case c.phase == gone:
			k.close(byEnd)
		default:
			c.sock = k
			k.heard = c.heard
			k.over = func(code ws.StatusCode, err error) { c.cut(code, err) }
		}
	})
}

// again waits as the public client does, and tries another node.
func (c *client) again(err error) {
	if c.attempt > 1 {
		c.f.note("%s %s, attempt %d at n%d: %v", c.name, c.id, c.attempt, c.node+1, err)
	}
	c.phase = away
	c.attempt++
	base := min(10*time.Second, time.Second<<(c.attempt-1))
	c.node = (c.node + 1 + rand.IntN(len(c.f.nodes)-1)) % len(c.f.nodes)
	c.f.st.after(base+rand.N(base), c.connect)
}

// cut: the socket ended, and not by us.
func (c *client) cut(code ws.StatusCode, err error) {
	c.sock = nil
	if c.phase == on {
		c.f.cuts[code]++
		c.f.note("%s %s lost its socket to n%d: %d %v", c.name, c.id, c.node+1, code, err)
		c.lost = time.Now()
		c.attempt = 0
	}
	c.again(err)
}

// drop loses the socket, and the client comes back after a while.
func (c *client) drop(how ending, back time.Duration) {
	c.sock.close(how)
	c.sock = nil
	c.phase = away
	c.lost = time.Now()
	c.attempt = 0
	c.node = (c.node + 1 + rand.IntN(len(c.f.nodes)-1)) % len(c.f.nodes)
	c.f.st.after(back, c.connect)
}

// goFor goes for good; k is what ends the memberships.
func (c *client) goFor(k kind) {
	now := time.Now()
	for _, s := range c.seats {
		if s.member { // by this, or by a leave that is under way
			s.ends = append(s.ends, end{k, now, c.node})
		}
		if c.cur != nil && c.cur.seat == s && c.cur.op == opJoin && !s.member {
			s.unsure = true
		}
		s.member = false
	}
	if c.sock != nil {
		switch k {
		case closed:
			c.sock.close(byFrame)
		case halfOpen:
			c.sock.quiet = true
			c.f.wrecks = append(c.f.wrecks, c.sock)
		default:
			c.sock.close(ending(1 + rand.IntN(2)))
		}
	}
	c.sock = nil
	c.die()
}

func (c *client) die() {
	c.phase = gone
	c.cur, c.todo = nil, nil
}

// heard takes the frames of its socket.
func (c *client) heard(at time.Time, frames []frame) {
	for i := range frames {
		b := &frames[i].Body
		switch {
		case frames[i].Type == firstType:
			c.welcome(at, b.ConnectionID)
		case frames[i].Type == ackType && c.cur != nil && b.AckID == c.cur.ackID:
			c.answered(at, &frames[i])
		}
		if c.phase == gone || c.sock == nil {
			return
		}
	}
}

// welcome is the first frame: everything is as it was, or is not.
func (c *client) welcome(at time.Time, id string) {
	if c.id != "" && c.id != id {
		c.f.violate("a resume gave another id", "%s had %s and got %s", c.name, c.id, id)
	}
	c.id, c.phase, c.attempt = id, on, 0
	c.f.connected++
	if !c.lost.IsZero() {
		c.f.resumes++
		for _, s := range c.seats {
			c.f.changed(s, c.lost, at)
		}
		away := at.Sub(c.lost)
		forgotten := c.f.hit.lost && c.lost.Before(c.f.hit.began.Add(c.f.times.grace)) // a Redis that came back empty knows of nobody who was away
		c.lost = time.Time{}
		// Within the grace, which after a crash counts from the node's last
		// beat, nothing may have ended.
		if forgotten || away > c.f.times.grace-c.f.times.beat-500*time.Millisecond {
			for _, s := range c.seats {
				s.flaps++ // what ended is found when it asks for an update, and begins again
				if s.member && c.phase == on {
					c.todo = append(c.todo, &request{op: opUpdate, seat: s, data: c.f.datum()})
				}
			}
		}
	}
	if c.cur != nil { // owed by the old socket: it may still come here
		r := c.cur
		r.moved = true
		c.f.st.after(time.Second, func() {
			if c.cur == r {
				c.send(r)
			}
		})
	}
	c.pump()
}

// enter is what a new client does: into its rooms, and a member of them.
func (c *client) enter() {
	for _, s := range c.seats {
		c.todo = append(c.todo, &request{op: opRoom, seat: s}, &request{op: opJoin, seat: s, data: c.f.datum()})
	}
	c.connect()
}

// pump asks the next when nothing is under way.
func (c *client) pump() {
	if c.cur == nil && len(c.todo) > 0 && c.phase == on {
		c.cur, c.todo = c.todo[0], c.todo[1:]
		c.send(c.cur)
	}
}

func (c *client) send(r *request) {
	if c.phase != on {
		return // it is sent after the resume
	}
	c.f.asked++
	r.ackID = strconv.FormatInt(c.f.asked, 36)
	r.asked, r.moved = time.Now(), false
	if r.tries++; r.tries == 1 {
		r.first = r.asked
	}
	body := `"roomId":"` + c.f.room(r.seat.room) + `"`
	if r.data != "" {
		body += `,"userData":` + r.data
	}
	c.sock.write(masked(ws.OpText, []byte(`{"type":"ds:client:`+r.op+`","body":{`+body+`},"ackId":"`+r.ackID+`"}`)))
}

// answered settles the request under way, or asks it again.
func (c *client) answered(at time.Time, f *frame) {
	r := c.cur
	s := r.seat
	if r.moved {
		c.f.late++
	} else {
		c.f.answer(c, at.Sub(r.asked))
	}
	if e := f.Body.Err; e != nil {
		switch {
		case e.Retry:
			c.f.refusals[e.Code]++
			r.last = e.Code + ": " + e.Message + " after " + at.Sub(r.asked).Round(time.Millisecond).String()
			c.f.st.after(200*time.Millisecond+rand.N(200*time.Millisecond), func() {
				if c.cur == r {
					c.send(r)
				}
			})
			return
		case e.Code == "not_in_room" && s.flaps > 0:
			s.inRoom = false
			c.cur = nil
			c.lostSeat(s)
			c.todo = append([]*request{{op: opRoom, seat: s}, {op: opJoin, seat: s, data: c.f.datum()}}, c.todo...)
			c.pump()
			return
		case e.Code == "not_member" && s.flaps > 0:
			c.cur = nil
			c.lostSeat(s)
			c.todo = append([]*request{{op: opJoin, seat: s, data: c.f.datum()}}, c.todo...)
			c.pump()
			return
		}
		what := "a request is refused for good"
		if e.Code == "not_member" || e.Code == "not_in_room" {
			what = "a connected client lost its membership"
		}
		c.f.violate(what, "%s %s at n%d, %s in %s: %s %s", c.name, c.id, c.node+1, r.op, c.f.room(s.room), e.Code, e.Message)
		c.cur = nil
		c.todo = nil
		if s.member {
			s.member = false
			s.ends = append(s.ends, end{timeout, at, c.node})
		}
		c.todo = append(c.todo, &request{op: opRoom, seat: s}, &request{op: opJoin, seat: s, data: c.f.datum()})
		c.f.st.after(time.Second, c.pump)
		return
	}
	switch r.op {
	case opRoom:
		s.inRoom = true
	case opJoin:
		if !s.member {
			s.member = true
			s.begun++
			c.f.changed(s, r.first, at)
		}
		s.data = r.data
	case opUpdate:
		s.data = r.data
	case opLeave:
		if s.member {
			s.member = false
			c.f.changed(s, r.first, at)
			s.ends = append(s.ends, end{left, r.asked, c.node})
		}
	}
	c.cur = nil
	c.pump()
}

// lostSeat notes a membership that ended while the client was away too long:
// one of its flaps has happened, and it begins another.
func (c *client) lostSeat(s *seat) {
	if s.member {
		s.member = false
		s.flaps--
		s.ends = append(s.ends, end{timeout, time.Time{}, c.node}) // when, nobody here knows
	}
}

// act does one thing that comes to its mind.
func (c *client) act() {
	if c.phase != on || c.cur != nil || len(c.todo) > 0 {
		return
	}
	c.f.acts++
	s := c.seats[rand.IntN(len(c.seats))]
	switch n := rand.IntN(100); {
	case !s.member:
		c.todo = append(c.todo, &request{op: opJoin, seat: s, data: c.f.datum()})
	case n < 45:
		c.todo = append(c.todo, &request{op: opUpdate, seat: s, data: c.f.datum()})
	case n < 60:
		c.todo = append(c.todo, &request{op: opLeave, seat: s}, &request{op: opJoin, seat: s, data: c.f.datum()})
	case n < 75:
		if n < 63 { // with a request under way
			c.todo = append(c.todo, &request{op: []string{opUpdate, opLeave}[n%2], seat: s})
			if n%2 == 0 {
				c.todo[0].data = c.f.datum()
			}
			c.pump()
		}
		c.drop(ending(1+rand.IntN(2)), c.f.times.grace/10+rand.N(c.f.times.grace/2))
	case n < 90:
		c.goFor(closed)
		c.f.replace()
	default:
		c.goFor(timeout)
		c.f.replace()
	}
	c.pump()
}

// datum is data that nobody else sends.
func (f *field) datum() string {
	f.data++
	return fmt.Sprintf(`{"n":%d}`, f.data)
}

// settled: nothing is under way.
func (c *client) settled() bool {
	return c.phase == gone || c.phase == on && c.cur == nil && len(c.todo) == 0
}

// listed is a member as Redis or a node lists it.
type listed struct {
	ID   string          `json:"id"`
	Data json.RawMessage `json:"data"`
}
