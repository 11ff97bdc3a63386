package redisstore

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// A batch is one pipeline: runs of operations of one kind, each run a call.
//
//	tasks  j1 u2 j3 l1 j4          (the digit is the connection)
//	runs   [j1 j3 j4] [u2] [l1]    j3 and j4 move up: they pass nothing of theirs
//
// An operation moves up to an open run of its kind only where it passes no
// other of its own connection, so that a connection's operations stay in
// order. What a batch builds lives in arenas that the next one uses again.

// batch belongs to one writer.
type batch struct {
	// set once
	lane    *lane
	writer  bool // it is used again and again, see lane.start
	oneSlot bool // all of a call must be in one slot

	// set by lane.take
	now        int64  // the store's clock
	validUntil int64  // for every write of this batch
	grant      *grant // what it rests on
	mayWrite   bool
	floor      int64     // no room's revision is below it, see doubt.go
	upper      int64     // Redis's clock, not too low
	listened   *upstream // the last one that was asked about, and
	until      int64     // until when what it brings is known
	doubts     int64     // how often the master's past was in doubt
	fence      int64     // no write that was sent, or is in here, is valid after it; 0: all are dead
	ops        int
	bytes      int
	oldest     int64 // when the oldest task came
	refusals   []refused

	runs  []run
	open  [opKinds]int            // the newest run of each kind, plus one; 0: none
	lasts map[presence.ConnID]int // the last run with an operation of this connection

	// The arenas. They may move as they grow: what points into the old one
	// stays true, because nothing in it changes.
	text []byte
	args []arg
	anys []any
	cmds []redis.Cmder

	sent    bool // the pipeline's first bytes were written
	telling bool // its answers are being given, see lane.tell
}

// refused is a task that is not sent, and why.
type refused struct {
	task
	err *presence.Error
}

// run is one call, or one command.
type run struct {
	kind  presence.OpKind
	max   int // OpJoin: MaxMembers, the same for all
	tasks []task
	cmd   *redis.Cmd // whose reply answers the run
}

func newBatch(l *lane) *batch {
	return &batch{
		lane: l, lasts: make(map[presence.ConnID]int, batchOps),
		oneSlot: l != nil && l.store.masters.cluster != nil,
	}
}

func (b *batch) reset() {
	for i := range b.runs {
		clear(b.runs[i].tasks)
		b.runs[i] = run{tasks: b.runs[i].tasks[:0]}
	}
	clear(b.refusals)
	clear(b.args)
	clear(b.anys)
	clear(b.cmds)
	clear(b.lasts)
	b.runs, b.refusals = b.runs[:0], b.refusals[:0]
	b.text, b.args, b.anys, b.cmds = b.text[:0], b.args[:0], b.anys[:0], b.cmds[:0]
	b.open = [opKinds]int{}
	b.ops, b.bytes, b.oldest, b.sent = 0, 0, 0, false
}

// refuse lists t as not to be sent.
func (b *batch) refuse(t task, err *presence.Error) { b.refusals = append(b.refusals, refused{t, err}) }

// add puts t into a run.
func (b *batch) add(t task) {
	b.ops++
	b.bytes += len(t.op.Data) + len(t.op.ClientJSON) + 2*len(t.op.Room) + len(t.op.Track) + 160
	if b.ops == 1 || t.at < b.oldest {
		b.oldest = t.at
	}
	at := b.open[t.op.Kind] - 1
	if at < 0 || !b.fits(at, &t) {
		at = b.newRun(t.op)
		if !t.alone && shares(t.op.Kind) {
			b.open[t.op.Kind] = at + 1
		}
	}
	b.runs[at].tasks = append(b.runs[at].tasks, t)
	b.lasts[t.op.Conn] = at
}

// begin sets until when the writes of the batch are valid: for as long as the
// lease and an operation live, and no longer than what comes with it allows
// (heard).
func (b *batch) begin(g *grant) {
	b.grant, b.mayWrite, b.listened = g, false, nil
	if g == nil {
		return
	}
	b.upper = g.upper(b.now)
	b.validUntil = min(g.end, g.lower(b.now)+opLife.Milliseconds())
	b.mayWrite = b.validUntil > b.upper
}

// heard reports whether this node would know that a connection of the shard was
// taken from it, and has the batch valid for no longer than that is sure.
func (b *batch) heard(shard int) bool {
	u := b.lane.store.feed.listensAt(shard)
	if u != b.listened { // mostly one for all
		b.listened = u
		b.until = b.grant.heardUntil(b.now, u.probeAge(), b.lane.store.opts.LeaseTTL)
	}
	if b.until <= b.upper {
		return false
	}
	b.validUntil = min(b.validUntil, b.until)
	return true
}

// fits reports whether t may join run at. In a Cluster all of a call must be in
// one slot: in one room.
func (b *batch) fits(at int, t *task) bool {
	r := &b.runs[at]
	if t.alone || len(r.tasks) >= runOps || r.kind == presence.OpJoin && r.max != t.op.MaxMembers {
		return false
	}
	if first := r.tasks[0].op; b.oneSlot && (first.Room != t.op.Room || first.App != t.op.App) {
		return false
	}
	last, ok := b.lasts[t.op.Conn]
	return !ok || last <= at
}

// newRun appends an empty run, in the space of an old one where there is one.
func (b *batch) newRun(op *presence.Op) int {
	n := len(b.runs)
	if n < cap(b.runs) {
		b.runs = b.runs[:n+1]
	} else {
		b.runs = append(b.runs, run{})
	}
	b.runs[n].kind, b.runs[n].max = op.Kind, op.MaxMembers
	return n
}

// shares reports whether several operations of this kind go in one call: those
// on rooms do, a call on a session is for one connection.
func shares(kind presence.OpKind) bool {
	switch kind {
	case presence.OpJoin, presence.OpUpdate, presence.OpLeave, opMark, opAdopt, opAssert:
		return true
	}
	return false
}

// run sends the batch and tells everyone how it went.
func (b *batch) run() {
	for _, r := range b.refusals {
		b.lane.refuse(r.task, r.err)
	}
	if b.ops == 0 {
		return
	}
	for i := range b.runs {
		b.build(&b.runs[i])
	}
	left := b.oldest + int64(opLife-deadlineMargin) - b.lane.store.clock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(left))
	defer cancel()
	b.exec(ctx, b.cmds)
	b.reload(ctx)
	took := time.Duration(b.lane.store.clock() - b.now)
	b.lane.store.meters.pipeline.Observe(float64(b.ops))
	b.lane.tell(b)
	for i := range b.runs {
		b.lane.store.meters.took(b.runs[i].kind, took)
		b.answer(&b.runs[i])
	}
}

// exec sends cmds as one pipeline. How each went is in it.
func (b *batch) exec(ctx context.Context, cmds []redis.Cmder) {
	pipe := b.lane.master.lanes.Pipeline()
	// Both errors are in the commands, too.
	_ = pipe.BatchProcess(ctx, cmds...)
	_, _ = pipe.Exec(ctx)
}

// stale reports whether its master's past has been in doubt since the batch was made:
// then it was for another server.
func (b *batch) stale() bool { return b.doubts != b.lane.master.doubts.Load() }

// reload runs the calls again that Redis did not know the script of: they did
// not run. The others did, and are not touched.
func (b *batch) reload(ctx context.Context) {
	var again []redis.Cmder
	for i := range b.runs {
		if r := &b.runs[i]; fateOf(r.cmd.Err()) == fateNoScript {
			r.cmd = redis.NewCmd(ctx, r.cmd.Args()...)
			again = append(again, r.cmd)
		}
	}
	if again == nil || b.stale() {
		return
	}
	if err := loadScripts(ctx, b.lane.master.lanes); err != nil {
		b.lane.store.log.Warn("loading the scripts again did not work", "err", err)
	}
	b.exec(ctx, again) // where it did not, they answer NOSCRIPT again
}

// answer tells everyone in r how it went.
func (b *batch) answer(r *run) {
	err := r.cmd.Err()
	f := fateOf(err)
	if f == fateLost && whole(r.cmd.Val()) {
		f = fateAnswered // the pipeline broke behind this reply
	}
	switch {
	case f == fateAnswered:
		b.deliver(r)
	case f == fateMoved:
		for _, t := range r.tasks {
			b.lane.moved(t)
		}
	case f == fateLost && !b.sent:
		b.failed(r, f)
		for _, t := range r.tasks {
			b.lane.refuse(t, presence.Errorf(presence.CodeUnavailable, "Redis cannot be reached"))
		}
		b.lane.store.masters.hurry() // another server may have its place
	case f == fateLost:
		b.failed(r, f)
		for _, t := range r.tasks {
			b.lane.lost(t, b.validUntil)
		}
	case f == fateFailed && len(r.tasks) > 1:
		// Half of the call may have taken effect. One by one, so that the one
		// at fault fails alone.
		b.lane.store.log.Error("a script failed half way; its operations are repeated one by one", "op", r.kind.String(), "err", err)
		for _, t := range r.tasks {
			t.retry, t.alone = true, true
			b.lane.repeat(t, b.validUntil)
		}
	default:
		b.failed(r, f)
		b.refused(r, f, err.Error())
	}
}

// whole reports whether a reply has arrived. Of one that broke in the middle
// go-redis leaves something: of a list one that is nil, in an interface that is
// not, of a text an empty one, which Redis gives for nothing that we ask. Taken
// for an answer it would be an empty room, or a connection without a session.
func whole(reply any) bool {
	switch reply := reply.(type) {
	case []any:
		return reply != nil
	case string:
		return reply != ""
	}
	return reply != nil
}

// refused tells everyone in r why Redis did not do it.
func (b *batch) refused(r *run, f fate, text string) {
	reference := ""
	switch f {
	case fateFailed, fateBroken:
		reference = rand.Text()[:8]
		b.lane.store.log.Error("a call to Redis failed", "op", opName(r.kind), "reference", reference, "err", text)
	case fateFencedInc, fateFencedLease:
		b.lane.store.metrics.FencedOperations.Add(float64(len(r.tasks)))
	}
	for _, t := range r.tasks {
		if t.retry && (f == fateAway || f == fateNoScript || f == fateFencedLease) {
			b.lane.unsettled(t, 0) // says nothing about the try before
			continue
		}
		err := fateError(t.op, f, text)
		if reference != "" {
			err.Message += " (reference " + reference + ")"
		}
		b.lane.end(t, f, err)
	}
}

// failed counts a call that did not work.
func (b *batch) failed(r *run, f fate) {
	b.lane.store.meters.failed(r.kind, fateError(r.tasks[0].op, f, "").Code)
}

// deliver reads the reply of r: one element for each operation of a room
// script, one reply for everything else.
func (b *batch) deliver(r *run) {
	reply := r.cmd.Val()
	if !shares(r.kind) {
		b.lane.deliver(r.tasks[0], reply)
		return
	}
	items, ok := reply.([]any)
	if !ok || len(items) != len(r.tasks) {
		b.lane.store.log.Error("a script gave an unreadable answer", "op", opName(r.kind), "count", len(r.tasks))
		for _, t := range r.tasks {
			b.lane.end(t, fateFailed, fateError(t.op, fateFailed, ""))
		}
		return
	}
	for i, t := range r.tasks {
		b.lane.deliver(t, items[i])
	}
}
