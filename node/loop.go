package node

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	presence "presencesets"
	"presencesets/metrics"
	"presencesets/protocol"
)

// One event loop. A turn:
//
//	poll            park until a socket or the mailbox has something
//	sockets         read → frames → requests; write what was queued
//	mailbox         the tasks that were there when the turn began
//	again           connections whose kept bytes were not done last turn
//	ready rooms     start the requests that the turn has collected, several together
//	timers          once a second the wheel, more often what waits for the store
//	replies         one send for each connection that was answered in this turn
//	broadcast       one step of the active job: at most 256 sockets
//
// Whatever a loop owns is read and written by its own goroutine only, without a
// lock. Everybody else posts a task. On a loop nothing blocks.
type loop struct {
	// Set once.
	id   int
	node *Node
	poll *poller
	m    *loopMetrics
	done chan struct{}

	// Atomic: read by the acceptor, the health page and those who post.
	count    atomic.Int64 // sockets, those on their way through the mailbox included
	heads    atomic.Int64 // handshakes without a whole head, those in the mailbox included
	beat     atomic.Int64 // Unix nanoseconds of the last turn
	backlog  atomic.Int64 // Unix nanoseconds at which the oldest broadcast that is not done came; 0: none
	sleeping atomic.Bool  // parked, or about to be: a post must wake it

	mu      sync.Mutex // protects the next three
	mailbox []task
	waiting time.Time // since when the first of them waits
	closed  bool

	// Owned by the loop.
	conns        table
	states       [stateCount]int
	wheel        wheel
	buffers      buffers
	dec          *protocol.Decoder
	req          protocol.Request // of the frame that is handled
	began        time.Time
	now          time.Time // of this turn
	second       uint32    // whole seconds since began
	tick8        uint32    // 1/8 ms since began, for the buckets
	rbuf         []byte
	scratch      []byte
	tasks        []task // the mailbox's other half
	replies      []byte
	segments     []segment
	againList    []connRef
	ready        []readyEntry
	waits        []waiting
	opening      []patient // upgrades that wait for the store, oldest first; some were answered
	waitingRooms roomQueue
	job          *job
	jobFree      job
	freeReqs     *request
	memory       memory
	partial      int                        // bytes of half-read frames
	queued       int                        // bytes in outbound queues
	subs         int                        // entries that receive something
	rooms        int                        // rooms with such an entry
	members      int                        // entries that may be a member
	byID         map[presence.ConnID]uint32 // slot of each connection that is open
	epoch        uint16                     // of the store's past: a connection of another one is not sure of itself
	reclaims     reclaims
	drain        wave
	stopping     bool
	behind       bool // the wheel has entries of the past left
	stats        metrics.LoopStats
}

// task is what others hand to a loop. A struct with a kind and not a closure:
// the hot ones cost no allocation.
type task struct {
	kind taskKind
	fd   int32
	req  *request
	// How req went, when its outcome is not known yet: the store may write the
	// operation's own fields again before the loop has looked.
	unknown *presence.Error
	cast    *broadcast
	ask     chan metrics.LoopStats

	do       func(*loop) // of taskLate: when the socket is gone, too
	ref      connRef
	payloads [][]byte
	epoch    int64
}

type taskKind uint8

const (
	taskSocket  taskKind = iota // fd: a new socket
	taskFull                    // fd: a new socket, of which there are too many
	taskDone                    // req: the store has answered
	taskCast                    // cast: an event or a message for a room's subscribers
	taskStats                   // ask: wants a copy of the counters
	taskStop                    // close every connection and end
	taskDrain                   // close connections in waves
	taskAsk                     // do: a question about connections
	taskLate                    // payloads: acknowledgements that were owed to ref's last socket
	taskReclaim                 // epoch: every connection must be compared with the store
)

// segment is one connection's part of the replies of a turn.
type segment struct {
	ref        connRef
	start, end int
}

func newLoop(n *Node, id int) (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("loop %d: %w", id, err)
	}
	lim := &n.opts.Limits
	l := &loop{
		id: id, node: n, poll: p, m: newLoopMetrics(n.opts.Metrics), done: make(chan struct{}),
		dec: protocol.NewDecoder(protocol.Limits{
			Message: lim.Message, Data: lim.Data, Depth: lim.Depth,
			RoomName: lim.RoomName, EventName: lim.EventName,
		}),
		rbuf:  make([]byte, 64<<10),
		byID:  make(map[presence.ConnID]uint32),
		began: time.Now(),
	}
	l.stats.Loop = id
	l.clock()
	return l, nil
}

// post hands a task to the loop from any goroutine. It reports false when the
// loop has ended. Any number of posts before the loop looks cost one wake.
func (l *loop) post(t task) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	if len(l.mailbox) == 0 {
		l.waiting = time.Now()
	}
	l.mailbox = append(l.mailbox, t)
	l.mu.Unlock()
	if l.sleeping.CompareAndSwap(true, false) {
		l.poll.wake()
	}
	return true
}

func (l *loop) clock() {
	l.now = time.Now()
	since := l.now.Sub(l.began)
	l.second = uint32(since / time.Second)
	l.tick8 = uint32(since / (time.Millisecond / 8))
	l.beat.Store(l.now.UnixNano())
}

// run is the loop's goroutine. It ends after a taskStop, when its last
// connection is gone.
func (l *loop) run() {
	defer close(l.done)
	defer l.poll.close()
	for {
		if !l.collect() {
			l.node.opts.Log.Error("a loop's poller was closed", "loop", l.id)
			l.finishRun()
			return
		}
		l.clock()
		l.stats.Turns++
		l.stats.Events += uint64(l.poll.n)
		for i := range l.poll.n {
			ev := &l.poll.events[i]
			if ev.Fd == wakeSlot {
				continue
			}
			if c := l.conns.get(connRef{uint32(ev.Fd), uint32(ev.Pad)}); c != nil {
				l.guarded(c, ev.Events)
			}
		}
		l.takeTasks()
		l.runAgain()
		l.startReady()
		l.timers()
		l.flushReplies()
		l.stepJob()
		l.stats.TurnSeconds += time.Since(l.now).Seconds()
		if l.stopping && l.conns.used == 0 {
			l.finishRun()
			return
		}
	}
}

// finishRun refuses what is posted from here on, and what was and not looked at.
func (l *loop) finishRun() {
	l.mu.Lock()
	l.closed = true
	rest := l.mailbox
	l.mailbox = nil
	l.mu.Unlock()
	for _, t := range rest {
		l.refuseTask(t)
	}
}

// collect fills the poller's events: it parks unless the loop has work of its own.
func (l *loop) collect() bool {
	if l.job != nil || l.waitingRooms.len() > 0 || len(l.againList) > 0 || len(l.ready) > 0 || l.behind || l.sweeping() {
		l.poll.once()
		return true
	}
	l.sleeping.Store(true)
	l.mu.Lock()
	waiting := len(l.mailbox) > 0
	l.mu.Unlock()
	if waiting {
		l.sleeping.Store(false)
		l.poll.once()
		return true
	}
	deadline := l.began.Add(time.Duration(l.second+1) * time.Second)
	if len(l.waits) > 0 {
		if d := l.waits[0].until; d.Before(deadline) {
			deadline = d
		}
	}
	if len(l.opening) > 0 && l.opening[0].until.Before(deadline) {
		deadline = l.opening[0].until
	}
	if d := l.drain.next; !d.IsZero() && d.Before(deadline) {
		deadline = d
	}
	if d := l.reclaims.next; l.reclaims.on && l.reclaims.flying < reclaimsMost && d.Before(deadline) {
		deadline = d // else an answer wakes it; a wait until a moment that has passed would not look at the sockets
	}
	ok := l.poll.wait(deadline)
	l.sleeping.Store(false)
	l.stats.Wakes++
	return ok
}

// guarded handles one socket's events. A panic in it is a bug of ours that
// must cost this connection only.
func (l *loop) guarded(c *conn, events uint32) {
	ref := c.ref()
	defer l.recovered(ref)
	if events&evErr != 0 && events&evIn == 0 {
		l.readEnd(c, unix.ECONNRESET)
		return
	}
	if events&evOut != 0 {
		l.writable(c)
		if l.conns.get(ref) == nil {
			return
		}
	}
	if events&evEnd != 0 {
		l.readable(c)
	}
}

// recovered ends the connection in whose handler a panic was.
func (l *loop) recovered(ref connRef) {
	p := recover()
	if p == nil {
		return
	}
	l.panicked("a connection's handler", p)
	switch c := l.conns.get(ref); {
	case c == nil:
	case c.state == stateHead || c.state == stateAuthorising:
		l.refuse(c, errPanic)
	default:
		l.closeWith(c, ws.StatusInternalServerError, errPanic.Message, endError)
	}
}

// survived lets the loop live on after a panic that was no connection's.
func (l *loop) survived() {
	if p := recover(); p != nil {
		l.panicked("a loop's task", p)
	}
}

func (l *loop) panicked(where string, p any) {
	l.m.Panics.Inc()
	l.node.opts.Log.Error("panic in "+where, "loop", l.id, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
}

var errPanic = presence.Errorf(presence.CodeInternal, "internal error")

// takeTasks runs the tasks that were posted before now.
func (l *loop) takeTasks() {
	l.mu.Lock()
	l.tasks, l.mailbox = l.mailbox, l.tasks[:0]
	since := l.waiting
	l.mu.Unlock()
	if len(l.tasks) > 0 {
		l.stats.MailboxWaitSeconds = l.now.Sub(since).Seconds()
	}
	for i := range l.tasks {
		l.takeTask(&l.tasks[i])
		l.tasks[i] = task{}
	}
	if cap(l.tasks) > 1<<16 { // after a flood: do not hold its memory
		l.tasks = nil
	}
}

func (l *loop) takeTask(t *task) {
	defer l.survived()
	switch t.kind {
	case taskSocket:
		l.socket(int(t.fd))
	case taskFull:
		if c := l.socket(int(t.fd)); c != nil {
			l.finish(c, fullAnswer)
		}
	case taskDone:
		l.completed(t.req, t.unknown)
	case taskCast:
		l.enqueue(t.cast)
	case taskStats:
		t.ask <- l.snapshotStats()
	case taskStop:
		l.stopAll()
	case taskDrain:
		l.startDrain()
	case taskAsk:
		t.do(l)
	case taskLate:
		if !l.sendLate(t.ref, t.payloads) {
			t.do(l)
		}
	case taskReclaim:
		l.startReclaim(t.epoch)
	}
}

// refuseTask is what becomes of a task that came after the loop's end.
func (l *loop) refuseTask(t task) {
	switch t.kind {
	case taskSocket, taskFull:
		_ = unix.Close(int(t.fd)) // never used
		l.count.Add(-1)
		l.heads.Add(-1)
		l.node.freed()
	case taskDone:
		l.orphaned(t.req)
	case taskStats:
		t.ask <- l.snapshotStats()
	case taskAsk:
		t.do(l)
	}
}

// socket takes a new socket in; nil: it had to be closed.
func (l *loop) socket(fd int) *conn {
	c := l.conns.take()
	c.fd = int32(fd)
	c.jitter = rand.Uint32()
	c.interest = 1
	l.states[stateFree]++ // setState takes it out again
	l.setState(c, stateHead)
	c.lastSeen = l.second
	if err := l.poll.add(fd, c.slot, c.gen, pollIn); err != nil || l.stopping {
		l.destroy(c, endNone)
		return nil
	}
	l.refile(c)
	return c
}

// runAgain looks at kept bytes of connections that had more than one turn's share.
func (l *loop) runAgain() {
	if len(l.againList) == 0 {
		return
	}
	list := l.againList
	l.againList = nil
	for _, ref := range list {
		c := l.conns.get(ref)
		if c == nil || c.flags&flagAgain == 0 {
			continue
		}
		c.flags &^= flagAgain
		if c.in != nil && len(c.in.buf) > 0 && (c.state == stateOpen || c.state == stateClosing) {
			func() {
				defer l.recovered(ref)
				l.input(c, c.in.buf)
			}()
		}
	}
}

// timers turns the wheel when a second has passed and refuses what waited too long.
func (l *loop) timers() {
	if l.second >= l.wheel.now {
		l.stats.WheelLagSeconds = l.now.Sub(l.began.Add(time.Duration(l.wheel.now) * time.Second)).Seconds()
		l.behind = !l.wheel.turn(&l.conns, l.second, l.guardedExpire)
		if !l.behind {
			l.wheel.now = l.second + 1
		}
	}
	l.expireOpens()
	l.expireWaits()
	l.stepReclaim()
	l.stepDrain()
}

func (l *loop) guardedExpire(c *conn) {
	defer l.recovered(c.ref())
	l.expire(c)
}

// reply appends a text frame to what c is sent at the end of this turn.
func (l *loop) reply(c *conn, payload []byte) {
	l.stats.FramesOut++
	start := len(l.replies)
	if n := len(l.segments); n > 0 && l.segments[n-1].ref == c.ref() {
		l.replies = appendFrame(l.replies, 1, payload)
		l.segments[n-1].end = len(l.replies)
		return
	}
	l.replies = appendFrame(l.replies, 1, payload)
	l.segments = append(l.segments, segment{c.ref(), start, len(l.replies)})
}

// flushReplies sends the replies of this turn, one send for each run of them
// that belongs to one connection.
func (l *loop) flushReplies() {
	if len(l.segments) == 0 {
		return
	}
	segments, replies := l.segments, l.replies
	l.segments, l.replies = nil, nil // sending may end connections, which may flush
	for _, s := range segments {
		l.sendReplies(s.ref, replies[s.start:s.end])
	}
	l.segments = segments[:0]
	if cap(replies) <= 1<<20 {
		l.replies = replies[:0]
	}
}

func (l *loop) sendReplies(ref connRef, b []byte) {
	defer l.recovered(ref)
	if c := l.conns.get(ref); c != nil {
		l.send(c, b, false)
	}
}

// stopAll closes every connection; the loop ends when the last is gone.
func (l *loop) stopAll() {
	l.stopping = true
	for i := range uint32(len(l.conns.slabs)) * slabSize {
		l.stopOne(l.conns.at(i))
	}
}

func (l *loop) stopOne(c *conn) {
	defer l.recovered(c.ref())
	switch c.state {
	case stateOpen:
		l.closeWith(c, ws.StatusGoingAway, goingAway, endDrain)
	case stateHead, stateAuthorising:
		l.refuse(c, errShuttingDown)
	} // those that are closing have their deadlines
}

func (l *loop) snapshotStats() metrics.LoopStats {
	s := l.stats
	s.Handshaking = l.states[stateHead] + l.states[stateAuthorising]
	s.Live = l.states[stateOpen]
	s.Closing = l.states[stateClosing] + l.states[stateDraining]
	s.PartialBytes, s.QueueBytes = int64(l.partial), int64(l.queued)
	s.Rooms, s.Subscribers, s.Members = l.rooms, l.subs, l.members
	l.mu.Lock()
	s.MailboxDepth = len(l.mailbox)
	l.mu.Unlock()
	s.JobsActive = l.waitingRooms.len()
	if l.job != nil {
		s.JobsActive++
	}
	if at := l.backlog.Load(); at != 0 {
		s.JobAgeSeconds = time.Since(time.Unix(0, at)).Seconds()
	}
	return s
}
