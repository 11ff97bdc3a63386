package node

import (
	"strings"
	"sync"
	"time"

	presence "presencesets"
	"presencesets/protocol"
)

// Acknowledgements that came too late for their socket.
//
// A request that was sent before a drop and is not answered yet still resolves
// in the client when its acknowledgement comes on the socket that resumes the
// connection. So what becomes of such requests is kept, for the grace, for the
// node that resumes it: this one or another, which asks by the store (Edge.Late).
//
//	socket lost ─▶ box: owed 2 ─▶ answered ─▶ owed 1 ─▶ answered ─▶ whole
//	                                 asked for ─────────────────────▶ given away
//
// Every request is answered within 2 s, so a box is whole by then. A connection
// without a request under way has no box. Bounded by limits.in_flight
// acknowledgements a connection.

// lateBoxes are the boxes of a node.
type lateBoxes struct {
	mu    sync.Mutex // protects everything, the boxes too
	boxes map[presence.ConnID]*lateBox
	swept time.Time
}

// lateBox is what is owed to one connection.
type lateBox struct {
	conn     presence.ConnID
	until    time.Time
	payloads [][]byte
	owed     int
	ask      func([][]byte) // who waits for it to be whole
}

// open returns conn's box, made if need be: one that was lost again before
// anybody asked is owed what it was owed before, too.
func (b *lateBoxes) open(conn presence.ConnID, keep time.Duration) *lateBox {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openLocked(conn, keep)
}

func (b *lateBoxes) openLocked(conn presence.ConnID, keep time.Duration) *lateBox {
	box := b.boxes[conn]
	if box == nil {
		box = &lateBox{conn: conn}
	}
	box.until = time.Now().Add(keep + 3*time.Second)
	return box
}

// owe counts one more acknowledgement that is to come.
func (b *lateBoxes) owe(box *lateBox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	box.owed++
}

// settle puts a box where it can be asked for, when there is something in it.
func (b *lateBoxes) settle(box *lateBox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep()
	b.keepLocked(box)
}

func (b *lateBoxes) keepLocked(box *lateBox) {
	if box.owed == 0 && len(box.payloads) == 0 {
		return
	}
	if b.boxes == nil {
		b.boxes = make(map[presence.ConnID]*lateBox)
	}
	b.boxes[box.conn] = box
}

// back keeps, for the next socket, what was fetched for one that is gone.
func (b *lateBoxes) back(conn presence.ConnID, keep time.Duration, payloads [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	box := b.openLocked(conn, keep)
	box.payloads = append(payloads, box.payloads...) // the older ones first
	b.keepLocked(box)
}

// add keeps one more acknowledgement, unless the box holds most already; 0: no bound.
func (b *lateBoxes) add(conn presence.ConnID, keep time.Duration, most int, payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	box := b.openLocked(conn, keep)
	if most > 0 && len(box.payloads) >= most {
		return
	}
	box.payloads = append(box.payloads, payload)
	b.keepLocked(box)
}

// sweep throws away what nobody has asked for in time, once a second at most.
func (b *lateBoxes) sweep() {
	now := time.Now()
	if now.Sub(b.swept) < time.Second {
		return
	}
	b.swept = now
	for conn, box := range b.boxes {
		if now.After(box.until) {
			delete(b.boxes, conn)
		}
	}
}

// put pays what was counted as one acknowledgement by owe.
func (b *lateBoxes) put(box *lateBox, payloads ...[]byte) {
	b.mu.Lock()
	box.owed--
	box.payloads = append(box.payloads, payloads...)
	ask := box.ask
	if box.owed > 0 || ask == nil {
		b.mu.Unlock()
		return
	}
	box.ask = nil
	all := box.takeAll()
	b.mu.Unlock()
	ask(all)
}

// takeAll empties box: a loop that has it open may settle it once more.
func (box *lateBox) takeAll() [][]byte {
	all := box.payloads
	box.payloads = nil
	return all
}

// take gives conn's box away when it is whole. answer is called once.
func (b *lateBoxes) take(conn presence.ConnID, answer func([][]byte)) {
	b.mu.Lock()
	box := b.boxes[conn]
	if box == nil {
		b.mu.Unlock()
		answer(nil)
		return
	}
	delete(b.boxes, conn)
	if box.owed > 0 {
		box.ask = answer
		b.mu.Unlock()
		return
	}
	all := box.takeAll()
	b.mu.Unlock()
	answer(all)
}

// keepLate fetches what the socket before that of an orphaned resume is owed:
// whoever resumes the connection next asks this node for it.
func (n *Node) keepLate(op *presence.Op) {
	was := op.Restored
	if was.From == "" || was.State == "away" || strings.HasPrefix(was.From, n.opts.NodeID+".") { // nobody to ask, nothing owed, or it is here
		return
	}
	box := n.late.open(op.Conn, op.Grace)
	n.late.owe(box) // all that comes counts as one
	n.late.settle(box)
	n.opts.Store.Late(op.Conn, was.From, func(payloads [][]byte) { n.late.put(box, payloads...) })
}

// finishLate is finishRequest for a request whose socket was lost: it puts the
// acknowledgement where the next socket finds it.
func (l *loop) finishLate(r *request, err *presence.Error) {
	if r.acked || r.errand != errandClient {
		return
	}
	r.acked = true
	l.tally(r, err)
	if box := r.late; box != nil {
		r.late = nil
		l.node.late.put(box, l.appendAck(nil, r, r.room.app, r.room.name, r.text, err))
	}
}

// refuseLate refuses a request that crossed our close frame, behind which
// nothing may be sent: the next socket is told.
func (l *loop) refuseLate(c *conn, msg []byte) {
	r := &l.req
	if l.dec.Decode(msg, r) != nil && r.Malformed && r.AckID == nil { // any other error is no matter: it is refused
		return
	}
	l.m.done(r.Type, errUnsent.Code, 0)
	if r.AckID != nil && c.flags&flagTaken == 0 {
		l.node.late.add(c.id, l.node.grace(c.key), l.node.opts.Limits.InFlight, protocol.AppendAckError(nil, r.AckID, errUnsent))
	}
}

// completedLate is the store's answer to a request whose socket was lost.
func (l *loop) completedLate(r *request, unknown *presence.Error) {
	err := unknown
	if err == nil {
		err = r.op.Err
		if err == nil && r.half() {
			err = presence.Errorf(presence.CodeUnavailable, "the socket was lost when only a part of the request was done; try again")
		}
	}
	if err == nil && r.tooLong > 0 {
		err = l.tooLong(r)
	}
	for at := r; at != nil; at = at.chain {
		l.finishLate(at, err)
	}
}

// half reports whether the answer of r's operation leaves another step undone.
// A subscription is listed in the session from its first one on, and resumed.
func (r *request) half() bool {
	return r.typ == protocol.TypeRoomLeave && r.op.Kind == presence.OpLeave
}
