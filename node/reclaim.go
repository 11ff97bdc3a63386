package node

import (
	"time"

	"github.com/gobwas/ws"

	presence "presencesets"
	"presencesets/protocol"
)

// Whose a connection is, and what it was told, when the store may not know it
// any more: Redis lost data, this node's lease was given up by the others, or an
// operation was refused because the connection is not ours.
//
// Every open connection is then compared with the store (OpReclaim): what was
// acknowledged is made true again, without the client noticing. Until that is
// done nothing else of the connection is sent to the store; its requests wait.
//
//	held, or asserted    goes on, under a new incarnation where need be
//	taken                another socket has it: forgotten in silence
//	gone                 nobody has it: closed, its client comes back
//	not answered         asked again
//
// A sweep walks the table, a few connections a turn, until a whole walk finds
// every connection of the newest epoch.

const (
	reclaimsMost  = 256  // under way, a loop
	reclaimStep   = 1024 // connections that are looked at in a turn
	reclaimPause  = 250 * time.Millisecond
	closeTryAgain = ws.StatusCode(1013) // "try again later" of the IANA registry of close codes
)

// reclaims is the state of a loop's sweep.
type reclaims struct {
	on     bool
	at     uint32    // slot at which it goes on
	left   bool      // this walk has passed connections that are not sure yet
	next   time.Time // the next walk begins
	flying int
}

// unsure reports whether c must be compared with the store before it does
// anything.
func (l *loop) unsure(c *conn) bool { return c.epoch != l.epoch || c.flags&flagReclaim != 0 }

// startReclaim makes every connection unsure.
func (l *loop) startReclaim(epoch int64) {
	l.epoch = uint16(epoch)
	l.sweepAgain(l.now)
}

// suspect makes one connection unsure.
func (l *loop) suspect(c *conn) {
	c.epoch = l.epoch - 1
	l.sweepAgain(l.now)
}

func (l *loop) sweepAgain(at time.Time) {
	l.reclaims.on, l.reclaims.at, l.reclaims.left, l.reclaims.next = true, 0, false, at
}

// sweeping reports whether the sweep can go on now.
func (l *loop) sweeping() bool {
	s := &l.reclaims
	return s.on && s.flying < reclaimsMost && !l.now.Before(s.next)
}

// stepReclaim goes on with the sweep.
func (l *loop) stepReclaim() {
	s := &l.reclaims
	if !s.on || l.now.Before(s.next) {
		return
	}
	slots := uint32(len(l.conns.slabs)) * slabSize
	for n := 0; s.at < slots && n < reclaimStep && s.flying < reclaimsMost; s.at++ {
		n++
		c := l.conns.at(s.at)
		if c.state != stateOpen || c.flags&flagEnded != 0 || !l.unsure(c) {
			continue
		}
		s.left = true
		if c.flags&flagReclaim == 0 {
			l.reclaim(c)
		}
	}
	if s.at < slots {
		return
	}
	if !s.left {
		s.on = false
		return
	}
	l.sweepAgain(l.now.Add(reclaimPause))
}

// reclaim compares c with the store, unless something of it is under way.
func (l *loop) reclaim(c *conn) {
	defer l.recovered(c.ref())
	for e := c.entries; e != nil; e = e.next {
		if e.current != nil {
			return
		}
	}
	r := l.newRequest(c)
	r.errand, r.epoch = errandReclaim, l.epoch
	op := &r.op
	op.Kind, op.App, op.Conn, op.Inc = presence.OpReclaim, c.key.App.ID, c.id, c.inc
	op.Key, op.Client, op.Grace = c.key.Public, c.client, l.node.grace(c.key)
	if c.secret != nil {
		op.Secret = *c.secret
	}
	var client []byte
	for e := c.entries; e != nil; e = e.next {
		if !e.joined {
			continue
		}
		h := presence.Hold{Room: e.room.name, Track: l.trackLine(c, e, e.mask, e.binds), Member: e.present}
		if e.present {
			if client == nil {
				client = protocol.AppendString(nil, c.client)
			}
			h.ClientJSON, h.At = client, e.at
			if e.data != "" {
				h.Data = []byte(e.data)
			}
		}
		op.Holds = append(op.Holds, h)
		r.entries = append(r.entries, e)
	}
	if err := l.node.opts.Store.Submit(op); err != nil {
		r.release() // the next walk asks again
		return
	}
	c.flags |= flagReclaim
	l.reclaims.flying++
}

// reclaimed is the store's answer.
func (l *loop) reclaimed(c *conn, r *request) {
	if c == nil || c.flags&flagReclaim == 0 || c.flags&flagEnded != 0 {
		return // its end waits in the store for this, and has the incarnation of now
	}
	c.flags &^= flagReclaim
	l.reclaims.flying--
	switch err := r.op.Err; {
	case err == nil:
	case r.op.Ended && err.Code == presence.CodeFenced:
		l.takeSession(c)
		return
	case r.op.Ended:
		l.closeWith(c, closeTryAgain, "this connection is no longer held; connect again", endError)
		return
	default:
		return // the sweep is on: it asks again
	}
	c.inc = r.op.NewInc
	lost := false
	for i := range r.op.Holds {
		h, e := &r.op.Holds[i], r.entries[i]
		e.answer = max(e.answer, h.Revision)
		switch {
		case h.Revision != 0:
			e.at = h.At
			l.setMember(e, true)
		case h.Member:
			lost = true
		default:
			l.setMember(e, false)
		}
	}
	if lost { // it was told that it is a member, and cannot be made one again
		l.closeWith(c, closeTryAgain, "a membership could not be kept; connect again", endError)
		return
	}
	c.epoch = r.epoch
	if l.unsure(c) {
		l.sweepAgain(l.now)
		return
	}
	l.readyAll(c)
}

// readyAll has everything that waits of c looked at.
func (l *loop) readyAll(c *conn) {
	for e := c.entries; e != nil; e = e.next {
		if e.current == nil && len(e.queue) > 0 {
			l.ready = append(l.ready, readyEntry{c.ref(), e})
		}
	}
}

// taken is the news that a socket of incarnation inc has c's connection.
func (l *loop) taken(c *conn, inc int64) {
	if c.state == stateOpen && c.inc < inc {
		l.takeSession(c)
	}
}
