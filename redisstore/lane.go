package redisstore

import (
	"sync"
	"sync/atomic"
	"time"

	presence "presencesets"
)

// A lane carries operations to one Redis master: those that arrive together
// travel together.
//
//	Submit ─▶ queue ─┐                     ┌─▶ pipeline ─▶ Done, Done, …
//	                 ├─ take all there is ─┼─▶ pipeline ─▶ …
//	steps  ─▶ inner ─┘  (≤ 256, ≤ 256 KiB) ├─▶ pipeline ─▶ …
//	                                       └─▶ pipeline ─▶ …
//
// Four writers share the queue. One that is free takes all that waits, sends
// it as one pipeline and answers it; so there is no timer, an idle lane sends
// at once, and under load batches grow by themselves. Pipelines in flight may
// overtake each other: who needs an order waits for the answer.
//
// Nothing waits for ever. A pipeline ends opLife after its oldest operation
// came, so its writer is back before those that queued behind it are as old,
// and refuses what is too old to be sent. What was sent without an answer is
// unknown, and is settled later (settle.go).

const (
	laneLimit   = 4096      // operations that may wait; further ones are refused
	laneWriters = 4         // pipelines in flight
	batchOps    = 256       // operations in a pipeline
	batchBytes  = 256 << 10 // bytes of data in a pipeline
	runOps      = 16        // operations of one room script in a call

	// An operation that waited this long is refused: there is too little of
	// opLife left to send it and hear the answer.
	maxWait = opLife * 3 / 4
	// A pipeline ends this long before opLife, so that the answer to the
	// caller is in time.
	deadlineMargin = opLife / 40
)

// task is one operation in a lane.
type task struct {
	op   *presence.Op
	step *step // the store's own operation, whose Op is op; nil for a caller's
	read *read // for OpMembers: who shares the answer
	at   int64 // when it came, on the store's clock

	// valid is the highest validUntil that it was sent with; 0: it was not.
	valid int64
	// retry: an earlier try may have taken effect; the script is told.
	retry bool
	// told: the caller knows that the outcome is unknown and waits for it.
	told bool
	// seen is, of a resume, the incarnation that the session had before it.
	seen int64
	// alone: an earlier call failed half way; this one carries nothing else.
	alone bool
	// parked: it was not sent for lack of a master, and counts no more among
	// those that wait.
	parked bool
}

// step is an operation that only the store itself asks for: those of a saga
// (departure.go, resume.go, reclaim.go, fence.go), and mark.
type step struct {
	presence.Op

	// began is the store's clock when the saga began that must be answered
	// within opLife; 0: nobody waits for it.
	began int64

	fence     bool              // opClose, opDetach: operations are unanswered; the session keeps a fence
	handed    []presence.Handed // opDetach: from where a resume replays, room by room
	claim     int64             // opFinish: the claim's time, 0 for the owner's own. opClaim: filled
	stamp     string            // opFinish: the node whose index lists the connection
	retention time.Duration     // opFinish: how long its rooms can still be resumed
	least     int64             // OpOpen, OpResume: the incarnation that begins is not below it
	newest    int64             // OpResume: no socket with an incarnation above it is robbed
	owner     string            // OpResume: the stamp that has the session; opOwner: filled
	unheard   bool              // OpResume: whoever has it is not told
	from      int64             // opAdopt: a member with an incarnation below is of an earlier life, or landed late
	swept     bool              // OpUntrack: only a room with flag x; OpLeave: a refusal is as it should be

	// Filled.

	valid    int64    // the validUntil that it was sent with, 0: it was not
	fields   []string // opClose, opRead, OpResume, opClaim: field, value, …
	deadline int64    // opDetach: Redis ms of the grace's end; 0: it was not live at Inc
	ends     int64    // OpResume: the fence of the session, 0: none
	state    string   // OpResume: what the session was
	value    string   // opAdopt, opMember: of the member, "" when there is none
	word     string   // what was answered in place of a number or a list, such as LATE
	fate     fate     // how it went; Err is set unless fateAnswered
	then     func(*step)
}

// Kinds of step, behind those of the callers.
const (
	opClose   = presence.OpKind(32 + iota) // end a session: fields
	opRead                                 // read a session: fields
	opFinish                               // forget a session whose leaves are made
	opMark                                 // move a room's revision up to Revision
	opDetach                               // begin the grace of a connection: deadline
	opOwner                                // read who has a session: owner, NewInc
	opClaim                                // take a session that is due: claim, fields
	opAdopt                                // put a membership under a new incarnation: value
	opAdopted                              // adopt nothing of an earlier incarnation any more
	opAssert                               // make the room hold a membership: Revision, 0 when it does
	opMember                               // read a member: value
	opKinds                                // how many kinds there are
)

// read is one snapshot of a room that several callers share.
type read struct {
	key  string
	sent bool           // who comes from now on is for the next
	ops  []*presence.Op //
	next []*presence.Op // who came while it was in flight
	at   int64          // when the first of next came
}

// lane is a queue to one master and the writers that empty it.
type lane struct {
	// set once
	store  *Store
	master *master

	writers sync.WaitGroup
	gone    atomic.Bool // its master is none any more

	// mu protects
	mu      sync.Mutex
	filled  sync.Cond // signalled when something waits, or at the end
	queue   fifo      // of callers: bounded by laneLimit
	inner   fifo      // of the store: bounded by the connections there are
	waiting int       // callers' operations that wait, those that share a read too
	reads   map[string]*read
	telling int // writers that give answers, and take again right after
	closed  bool
}

func newLane(s *Store, m *master) *lane {
	l := &lane{store: s, master: m, reads: make(map[string]*read)}
	l.filled.L = &l.mu
	return l
}

// start runs the writers; stop ends them.
func (l *lane) start() {
	for range laneWriters {
		l.writers.Go(func() {
			b := newBatch(l)
			b.writer = true
			for l.take(b) {
				b.run()
			}
		})
	}
}

// stop refuses what still waits and returns when every writer is back.
func (l *lane) stop() {
	l.mu.Lock()
	l.closed = true
	l.filled.Broadcast()
	l.mu.Unlock()
	l.writers.Wait()
}

// leave hands what waits over to the lanes of the other masters, and whatever
// comes from now on.
func (l *lane) leave() {
	l.gone.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range []*fifo{&l.queue, &l.inner} {
		for q.len() > 0 {
			l.parkLocked(q.pop())
		}
	}
}

// parkLocked gives a task that was not sent to whoever has its slot.
func (l *lane) parkLocked(t task) {
	if t.read != nil {
		delete(l.reads, t.read.key) // who shared it is submitted anew
		l.waiting -= len(t.read.ops)
	} else if t.counts() {
		l.waiting--
	}
	l.store.masters.park(t)
}

// counts reports whether a task is among those that the lane's limit is for.
func (t *task) counts() bool { return t.step == nil && !t.retry && !t.parked }

// submit queues a caller's operation. It never blocks.
func (l *lane) submit(op *presence.Op) *presence.Error {
	at := l.store.clock()
	if l.gone.Load() {
		t := task{op: op, at: at}
		if op.Kind == presence.OpMembers {
			t.read = &read{ops: []*presence.Op{op}}
		}
		l.store.masters.park(t)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errShutdown()
	}
	if l.waiting >= laneLimit {
		l.store.metrics.LaneRefusals.Inc()
		return errFull()
	}
	l.waiting++
	if op.Kind == presence.OpMembers {
		l.shareLocked(op, at)
		return nil
	}
	l.queue.push(task{op: op, at: at})
	l.filled.Signal()
	return nil
}

// enter counts a saga of a caller's among the operations that wait, from here
// to exit, so that they are bounded, too.
func (l *lane) enter() *presence.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed && !l.gone.Load() {
		return errShutdown()
	}
	if l.waiting >= laneLimit {
		l.store.metrics.LaneRefusals.Inc()
		return errFull()
	}
	l.waiting++
	return nil
}

func (l *lane) exit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
}

// shareLocked lets a read of a room join the one that waits, or the one after
// the one in flight: an answer must not be older than its question.
func (l *lane) shareLocked(op *presence.Op, at int64) {
	key := l.store.keys.members(op.App, op.Room)
	switch r := l.reads[key]; {
	case r == nil:
		r = &read{key: key, ops: []*presence.Op{op}}
		l.reads[key] = r
		l.queue.push(task{op: op, read: r, at: at})
		l.filled.Signal()
	case !r.sent:
		r.ops = append(r.ops, op)
	default:
		if len(r.next) == 0 {
			r.at = at
		}
		r.next = append(r.next, op)
	}
}

// readDone starts the read that waited for r.
func (l *lane) readDone(r *read) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(r.next) == 0 {
		delete(l.reads, r.key)
		return
	}
	next := &read{key: r.key, ops: r.next}
	l.reads[r.key] = next
	l.queue.push(task{op: next.ops[0], read: next, at: r.at})
	l.filled.Signal()
}

// push queues an operation of the store's own, or a repeat. It is never
// refused; after stop it is dropped, and false returned.
func (l *lane) push(t task) bool {
	if l.gone.Load() {
		l.store.masters.park(t)
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.inner.push(t)
	if l.telling == 0 { // else the steps that follow from a pipeline's answers travel together, too
		l.filled.Signal()
	}
	return true
}

// tell notes that a writer gives the answers of b, until it takes again.
func (l *lane) tell(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.writer {
		l.telling++
		b.telling = true
	}
}

// departedSet remembers the connections that ended while operations of them
// were unanswered: what still waits in a lane is not sent any more, and what
// fails is not repeated. All that was sent before is under the fence of their
// close. The incarnations behind the one that ended are not concerned: the
// connection may be back.
//
// It remembers for longer than an operation lives, and less than twice as long,
// in two generations.
type departedSet struct {
	// mu protects
	mu         sync.Mutex
	young, old map[presence.ConnID]int64
	since      int64 // of the young ones
}

func (d *departedSet) add(conn presence.ConnID, inc, now int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.young == nil || now-d.since > 2*int64(opLife) {
		d.old, d.young, d.since = d.young, make(map[presence.ConnID]int64), now
	}
	d.young[conn] = max(inc, d.young[conn], d.old[conn])
}

// has reports whether op is of an incarnation that ended. A resume is of none
// yet: it begins one.
func (d *departedSet) has(op *presence.Op) bool {
	if op.Kind == presence.OpResume {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if inc, ok := d.young[op.Conn]; ok {
		return op.Inc <= inc
	}
	inc, ok := d.old[op.Conn]
	return ok && op.Inc <= inc
}

// take fills b with what waits: it blocks until there is something, and
// returns false at the end. What may not be sent is in b's list of refusals.
func (l *lane) take(b *batch) bool {
	b.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.telling {
		l.telling--
		b.telling = false
	}
	for l.queue.len()+l.inner.len() == 0 {
		if l.closed {
			return false
		}
		l.filled.Wait()
	}
	b.now = l.store.clock()
	b.begin(l.store.lease.grant.Load())
	b.doubts = l.master.doubts.Load() // before the floor, see doubts.begin
	b.floor = l.store.doubts.floor.Load()
	// In turns, so that neither a mass of departures nor a mass of requests
	// starves the other.
	for b.ops < batchOps && b.bytes < batchBytes && l.queue.len()+l.inner.len() > 0 {
		if l.queue.len() > 0 {
			l.admitLocked(b, l.queue.pop())
		}
		if l.inner.len() > 0 && b.ops < batchOps {
			l.admitLocked(b, l.inner.pop())
		}
	}
	b.fence = l.store.fenceOf(b)
	l.store.metrics.LaneDepth.Set(float64(l.waiting))
	if l.queue.len()+l.inner.len() > 0 {
		l.filled.Signal() // another writer may take the rest
	}
	return true
}

// admitLocked puts t into b, or into b's refusals.
func (l *lane) admitLocked(b *batch, t task) {
	switch {
	case t.read != nil:
		t.read.sent = true
		l.waiting -= len(t.read.ops)
	case t.counts():
		l.waiting--
	}
	if t.step != nil && t.step.began == 0 || t.told {
		t.at = b.now // nobody waits for it: its time begins when it is sent
	}
	if err := l.objectionLocked(b, &t); err != nil {
		b.refuse(t, err)
		return
	}
	b.add(t)
}

// objectionLocked says why t may not be sent: nil when it may.
func (l *lane) objectionLocked(b *batch, t *task) *presence.Error {
	if l.closed && t.step == nil && !l.gone.Load() {
		return errShutdown()
	}
	if b.now-t.at > int64(maxWait) {
		return presence.Errorf(presence.CodeUnavailable, "Redis is too slow; the operation was not sent")
	}
	if !writes(t.op.Kind) {
		return nil
	}
	if !b.mayWrite || t.op.Kind != opMark && !b.heard(t.op.Conn.Shard()) {
		return errLapsed()
	}
	if t.step != nil {
		return nil
	}
	if l.store.departed.has(t.op) {
		return errDeparted()
	}
	if t.op.Kind != presence.OpOpen && t.op.Inc < b.grant.since {
		// The connection was opened under a stamp that this node lost, with
		// an older incarnation than any under this one: Redis may have
		// forgotten its session, and a membership without one never ends.
		return presence.Errorf(presence.CodeFenced, "this node lost its lease after the connection was opened; connect again")
	}
	return nil
}

func errShutdown() *presence.Error {
	return presence.Errorf(presence.CodeUnavailable, "the node is shutting down")
}

func errFull() *presence.Error {
	return presence.Errorf(presence.CodeUnavailable, "%d operations wait for Redis, which is the limit", laneLimit)
}

func errDeparted() *presence.Error {
	return presence.Errorf(presence.CodeUnavailable, "the connection has ended")
}

func errLapsed() *presence.Error {
	return presence.Errorf(presence.CodeUnavailable, "Redis has not answered this node for so long that it may not write")
}

// writes reports whether an operation changes what is stored, so that it needs
// the lease. A close and a finish do not: they only end what is ours by inc.
func writes(kind presence.OpKind) bool {
	switch kind {
	case presence.OpOpen, presence.OpResume, presence.OpTrack, presence.OpUntrack,
		presence.OpJoin, presence.OpUpdate, presence.OpLeave, opMark, opAdopt, opAdopted, opAssert:
		return true
	}
	return false
}

// fifo is a queue in a ring that grows and is used again.
type fifo struct {
	ring  []task
	first int
	n     int
}

func (q *fifo) len() int { return q.n }

func (q *fifo) push(t task) {
	if q.n == len(q.ring) {
		grown := make([]task, max(64, 2*q.n))
		for i := range q.n {
			grown[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.n)%len(q.ring)] = t
	q.n++
}

func (q *fifo) pop() task {
	t := q.ring[q.first]
	q.ring[q.first] = task{} // let go of the operation
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	return t
}
