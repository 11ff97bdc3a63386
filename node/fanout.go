package node

import (
	"time"

	presence "presencesets"
)

// Fan-out: one event, one frame, one task for every loop that has subscribers.
//
// A loop has a queue of broadcasts and one active job. A job takes every queued
// broadcast of its room with it (jobBytes at most), so that a busy loop sends
// several frames in one call and an idle one sends at once. It walks the
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
	began    time.Time
	messages bool
	variants [maskNamed]variant // by the mask of an entry without named binds
}

// variant is what subscribers of one interest are sent, put together once.
type variant struct {
	made  bool
	bytes []byte
	count [4]uint16 // frames by kind, 0: messages
}

// take makes the next job out of the queue: the first broadcast and all
// later ones of its room, as far as they fit into one send.
func (l *loop) takeJob() {
	first := l.jobs[0]
	j := &l.jobFree
	*j = job{room: first.room, casts: j.casts[:0], began: l.now}
	size := 0
	kept := l.jobs[:0]
	full := false
	for _, b := range l.jobs {
		if b.room == j.room && !full {
			if n := len(b.frame) + len(b.frameAll); size == 0 || size+n <= jobBytes {
				size += n
				j.casts = append(j.casts, b)
				j.messages = j.messages || b.kind == 0
				continue
			}
			full = true // what comes behind it must stay behind it
		}
		kept = append(kept, b)
	}
	clear(l.jobs[len(kept):])
	l.jobs = kept
	l.job = j
	j.room.local[l.id].walkers++
	l.backlog.Store(first.posted.UnixNano())
	if first.kind != 0 {
		l.m.DeliveryLag.Observe(max(0, l.now.Sub(first.at).Seconds()))
	}
}

// stepJob sends to at most jobStep sockets.
func (l *loop) stepJob() {
	if l.job == nil {
		if len(l.jobs) == 0 {
			return
		}
		l.takeJob()
	}
	j := l.job
	lr := &j.room.local[l.id]
	for sent := 0; j.cursor < len(lr.subs); j.cursor++ {
		e := lr.subs[j.cursor]
		if e == nil {
			continue
		}
		if sent == jobStep {
			return // the rest in the next turn
		}
		sent++
		l.deliver(j, e)
	}
	lr.walked()
	clear(j.casts)
	l.job = nil
	l.backlog.Store(0)
	if len(l.jobs) > 0 {
		l.backlog.Store(l.jobs[0].posted.UnixNano())
	}
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
