package node

import (
	"time"

	presence "presencesets"
)

// Fan-out: one event, one frame, one task for every loop that has subscribers.
//
// A loop keeps what is to be sent by room, and the rooms in a queue. The active
// job takes all that waits for its room (jobBytes at most), so that a busy loop
// sends several frames in one call and an idle one sends at once. It walks the
// room's subscribers, jobStep sockets a turn, and the loop looks after its
// other sockets in between. Broadcasts of one room stay in their order
// (invariant 8); those of different rooms have none.

// broadcast is one event or message, shared by all loops and never changed.
type broadcast struct {
	room  *Room
	frame []byte // a presence event, or a message under its event's name

	posted time.Time // by our clock
	at     time.Time // of the event, by Redis's clock

	// A presence event.
	kind presence.Kind // 0: a message
	rev  presence.Revision
	conn presence.ConnID

	// A message.
	id       string
	event    string // JSON string of the event's name
	frameAll []byte // under the name that stands for every event
}

// The interest of an entry.
const (
	maskJoin = 1 << iota // 1 << (kind - 1)
	maskUpdate
	maskLeave
	maskAll   // messages under every name
	maskNamed // messages by name
	maskCount = 1 << iota

	maskPresence = maskJoin | maskUpdate | maskLeave
	maskMessages = maskAll | maskNamed
)

func kindMask(k presence.Kind) uint8 { return 1 << (k - 1) }

// job is a walk through a room's subscribers with one or more broadcasts.
type job struct {
	room     *Room
	casts    []*broadcast
	cursor   int
	messages bool
	last     presence.Revision  // of the newest event in casts; 0: only messages
	variants [maskNamed]variant // by the mask of an entry without named binds
}

// variant is what subscribers of one interest are sent, put together once.
type variant struct {
	made  bool
	bytes []byte
	count [4]uint16 // frames by kind, 0: messages
}

// enqueue keeps b for its room, and the room for its turn.
func (l *loop) enqueue(b *broadcast) {
	lr := &b.room.local[l.id]
	lr.pending = append(lr.pending, b)
	if !lr.queued {
		lr.queued = true
		l.waitingRooms.push(b.room)
	}
}

// roomQueue is a FIFO of the rooms that have something to send.
type roomQueue struct {
	rooms []*Room
	first int
}

func (q *roomQueue) len() int { return len(q.rooms) - q.first }

func (q *roomQueue) push(r *Room) { q.rooms = append(q.rooms, r) }

func (q *roomQueue) pop() *Room {
	r := q.rooms[q.first]
	q.rooms[q.first] = nil
	if q.first++; q.first == len(q.rooms) {
		q.rooms, q.first = q.rooms[:0], 0
	}
	return r
}

// takeJob makes the next job: of the room whose turn it is, as many broadcasts
// as fit into one send. What is left of them has the room queue up again.
func (l *loop) takeJob() {
	room := l.waitingRooms.pop()
	lr := &room.local[l.id]
	j := &l.jobFree
	*j = job{room: room, casts: j.casts[:0]}
	size := 0
	for _, b := range lr.pending {
		n := len(b.frame) + len(b.frameAll)
		if size > 0 && size+n > jobBytes {
			break
		}
		size += n
		j.casts = append(j.casts, b)
		j.messages = j.messages || b.kind == 0
		j.last = max(j.last, b.rev)
	}
	rest := copy(lr.pending, lr.pending[len(j.casts):])
	clear(lr.pending[rest:])
	lr.pending = lr.pending[:rest]
	if rest > 0 {
		l.waitingRooms.push(room)
	} else {
		lr.pending, lr.queued = nil, false // most rooms are quiet most of the time: hold no memory for them
	}
	l.job = j
	lr.walkers++
	first := j.casts[0]
	l.backlog.Store(first.posted.UnixNano())
	if first.kind != 0 {
		l.m.DeliveryLag.Observe(max(0, l.now.Sub(first.at).Seconds()))
	}
}

// stepJob sends to at most jobStep sockets: of one big room, or of many small ones.
func (l *loop) stepJob() {
	for sent := 0; l.job != nil || l.waitingRooms.len() > 0; {
		if l.job == nil {
			l.takeJob()
		}
		j := l.job
		lr := &j.room.local[l.id]
		for j.cursor < len(lr.subs) {
			if sent == jobStep {
				return // the rest in the next turn
			}
			e := lr.subs[j.cursor]
			j.cursor++
			if e != nil {
				sent++
				l.guardedDeliver(j, e)
			}
		}
		lr.walked()
		clear(j.casts)
		l.job = nil
	}
	l.backlog.Store(0)
}

// maxBacklog is the age of the oldest broadcast from which the node is not
// ready and sheds new handshakes.
const maxBacklog = 5 * time.Second

// backlogged reports how far l is behind with its broadcasts, when that is too far.
func (l *loop) backlogged() (age time.Duration, late bool) {
	at := l.backlog.Load()
	if at == 0 {
		return 0, false
	}
	age = time.Since(time.Unix(0, at))
	return age, age > maxBacklog
}

// deliver sends the job's broadcasts that e has not had to its connection.
func (l *loop) deliver(j *job, e *entry) {
	c := l.conns.at(e.slot)
	if e.current != nil || e.mask&maskNamed != 0 && j.messages || e.since() >= j.casts[0].rev && j.casts[0].kind != 0 || j.mixedSince(e) {
		l.deliverEach(j, e, c)
		return
	}
	v := &j.variants[e.mask&^maskNamed]
	if !v.made {
		v.make(j, e.mask&^maskNamed)
	}
	if len(v.bytes) == 0 {
		return
	}
	for k, n := range v.count {
		l.stats.Delivered[k] += uint64(n)
		l.stats.FramesOut += uint64(n)
	}
	l.send(c, v.bytes, true)
}

func (l *loop) guardedDeliver(j *job, e *entry) {
	defer l.recovered(l.conns.at(e.slot).ref())
	l.deliver(j, e)
	if e.mask&maskPresence != 0 { // not where sending it has ended the connection
		e.handed = max(e.handed, j.last)
	}
}

// mixedSince reports whether some event of the job is not above what e's
// snapshot holds. Revisions rise through a job, but messages have none.
func (j *job) mixedSince(e *entry) bool {
	if !j.messages {
		return false // the first event was looked at, the others are above it
	}
	since := e.since()
	for _, b := range j.casts {
		if b.kind != 0 && b.rev <= since {
			return true
		}
	}
	return false
}

func (v *variant) make(j *job, mask uint8) {
	v.made = true
	total, frames, last := 0, 0, []byte(nil)
	for _, b := range j.casts {
		if f := b.pick(mask); f != nil {
			total += len(f)
			frames++
			last = f
			v.count[b.kind]++
		}
	}
	if frames == 1 {
		v.bytes = last // the shared bytes themselves
		return
	}
	if frames > 1 {
		v.bytes = make([]byte, 0, total)
		for _, b := range j.casts {
			v.bytes = append(v.bytes, b.pick(mask)...)
		}
	}
}

// pick returns the frame of b for an entry of that mask, nil when it wants none.
func (b *broadcast) pick(mask uint8) []byte {
	switch {
	case b.kind == 0 && mask&maskAll != 0:
		return b.frameAll
	case b.kind != 0 && mask&kindMask(b.kind) != 0:
		return b.frame
	}
	return nil
}

// deliverEach is deliver for an entry that may not get all of the job as it
// is: one that has a request in flight, which its own event acknowledges; one
// whose snapshot holds some of the events; one that listens by name.
func (l *loop) deliverEach(j *job, e *entry, c *conn) {
	ref := c.ref()
	out := l.scratch[:0]
	sent := false
	for _, b := range j.casts {
		var f, g []byte
		if b.kind == 0 {
			if e.mask&maskNamed != 0 && e.bound(b.event) {
				f = b.frame
			}
			g = b.pick(e.mask & maskAll)
		} else if e.mask&kindMask(b.kind) != 0 && b.rev > e.sinceOf[b.kind-1] {
			f = b.frame
		}
		if f == nil && g == nil {
			continue
		}
		if e.current != nil && e.current.causedBy(c, b) {
			// The event proves that its request is stored: acknowledge first.
			l.flushOut(c, &out)
			if l.conns.get(ref) == nil {
				return
			}
			l.acknowledge(c, e.current, b)
			l.flushReplies()
			if l.conns.get(ref) == nil {
				return
			}
			out = l.scratch[:0]
		}
		for _, f := range [2][]byte{f, g} {
			if f != nil {
				out = append(out, f...)
				l.stats.Delivered[b.kind]++
				l.stats.FramesOut++
				sent = true
			}
		}
	}
	if sent {
		l.flushOut(c, &out)
	}
}

// flushOut sends what was put together in scratch so far.
func (l *loop) flushOut(c *conn, out *[]byte) {
	if len(*out) > 0 {
		l.send(c, *out, false)
	}
	l.scratch = (*out)[:0]
}
