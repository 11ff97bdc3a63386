package redisstore

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// How each kind of operation looks in Redis's protocol. The order of keys and
// arguments is in the head of each script.

// arg is one argument of a command. Behind a pointer it goes to go-redis
// without an allocation.
type arg struct {
	text  []byte
	first *batch // whose pipeline begins with it; nil: it is a later one
}

// errStale: the connection is to another server than the batch was made for.
var errStale = errors.New("this Redis was started anew")

// MarshalBinary returns the argument. It tells the batch that its pipeline is
// being written: what failed before that was certainly not sent.
func (a *arg) MarshalBinary() ([]byte, error) {
	if a.first != nil {
		if a.first.stale() {
			return nil, errStale
		}
		a.first.sent = true
	}
	return a.text, nil
}

// Words of commands, in interfaces already.
var (
	wordEvalSha  any = "evalsha"
	wordHGetAll  any = "hgetall"
	wordHGet     any = "hget"
	wordHMGet    any = "hmget"
	wordHLen     any = "hlen"
	wordSPublish any = "spublish"
	wordMulti    any = "multi"
	wordExec     any = "exec"
	wordRevision any = fieldRevision
	wordNode     any = "node"
	wordInc      any = "inc"
	wordSwept    any = "x"
	wordZero     any = "0"
	wordOne      any = "1"
	wordNothing  any = ""
)

// claimTime is how long a claimed connection is its claimer's: after that
// somebody else finishes it.
const claimTime = 5 * time.Second

// build makes the commands of r; the last one's reply is the answer.
func (b *batch) build(r *run) {
	op, step := r.tasks[0].op, r.tasks[0].step
	for _, t := range r.tasks {
		if t.step != nil {
			t.step.valid = b.validUntil
		}
	}
	start := len(b.anys)
	switch r.kind {
	case presence.OpMembers:
		b.put(wordHGetAll, b.members(op))
	case presence.OpCount:
		b.put(wordMulti)
		b.command(start)
		start = len(b.anys)
		b.put(wordHGet, b.members(op), wordRevision)
		b.command(start)
		start = len(b.anys)
		b.put(wordHLen, b.members(op))
		b.command(start)
		start = len(b.anys)
		b.put(wordExec)
	case presence.OpPublish:
		b.put(wordSPublish, b.room(op, ":messages"), b.raw(op.Data))
	case opRead:
		b.put(wordHGetAll, b.conn(op, ":session:"))
	case presence.OpOpen:
		stamp := b.grant.stamp
		b.eval(b.lane.store.scripts.open, 2)
		b.put(b.conn(op, ":session:"), b.index(op, stamp),
			b.id(op), b.number(b.least(step)), b.str(stamp), b.str(op.App), b.str(op.Key), b.str(op.Client),
			b.number(op.Grace.Milliseconds()), b.str(op.Secret), b.number(b.validUntil))
	case presence.OpResume:
		b.resume(op, step)
	case opOwner:
		b.put(wordHMGet, b.conn(op, ":session:"), wordNode, wordInc)
	case opMember:
		b.put(wordHGet, b.members(op), b.id(op))
	case opClaim:
		b.eval(b.lane.store.scripts.claim, 3)
		b.put(b.due(op), b.conn(op, ":session:"), b.conn(op, ":grace:"), b.number(claimTime.Milliseconds()), b.id(op))
	case presence.OpTrack:
		b.eval(b.lane.store.scripts.track, 1)
		b.put(b.conn(op, ":session:"),
			b.number(op.Inc), b.number(b.validUntil), b.name(op), b.str(op.Track), b.number(int64(op.MaxRooms)))
	case opAdopted:
		b.eval(b.lane.store.scripts.adopted, 1)
		b.put(b.conn(op, ":session:"), b.number(op.Inc), b.number(b.validUntil))
	case presence.OpUntrack:
		b.eval(b.lane.store.scripts.untrack, 1)
		b.put(b.conn(op, ":session:"), b.number(op.Inc), b.name(op), b.number(b.validUntil))
		if step != nil && step.swept {
			b.put(wordSwept)
		}
	case opClose:
		b.eval(b.lane.store.scripts.close, 3)
		fence := int64(0)
		if step.fence {
			fence = b.fence
		}
		b.put(b.conn(op, ":session:"), b.conn(op, ":grace:"), b.due(op),
			b.id(op), b.number(op.Inc), b.number(claimTime.Milliseconds()), b.str(string(op.Reason)), b.number(fence))
	case opDetach:
		fence := int64(0)
		if step.fence {
			fence = b.fence
		}
		b.eval(b.lane.store.scripts.detach, 3)
		b.put(b.conn(op, ":session:"), b.conn(op, ":grace:"), b.due(op),
			b.id(op), b.number(op.Inc), b.number(op.Grace.Milliseconds()), b.number(fence))
		for _, h := range step.handed {
			b.put(b.roomName(op.App, h.Room), b.number(int64(h.Revision)))
		}
	case opFinish:
		b.eval(b.lane.store.scripts.finish, 3)
		b.put(b.due(op), b.conn(op, ":session:"), b.index(op, step.stamp),
			b.number(step.claim), b.id(op), b.number(op.Inc), b.number(step.retention.Milliseconds()))
	default:
		b.roomScript(r)
	}
	r.cmd = b.command(start)
}

// least is the lowest incarnation that may begin: none under this stamp is
// below its registration.
func (b *batch) least(st *step) int64 {
	if st == nil {
		return b.grant.since
	}
	return max(b.grant.since, st.least)
}

// resume puts the call of the resume script.
func (b *batch) resume(op *presence.Op, st *step) {
	stamp, told := b.grant.stamp, st.owner
	if st.unheard {
		told = "-" // nobody's
	}
	b.eval(b.lane.store.scripts.resume, 5)
	b.put(b.conn(op, ":session:"), b.conn(op, ":grace:"), b.due(op), b.index(op, st.owner), b.index(op, stamp),
		b.id(op), b.str(op.App), b.str(op.Key), b.str(op.Client), b.str(op.Secret), b.str(stamp), b.str(st.owner),
		b.number(b.validUntil), b.number(st.newest), b.number(b.least(st)),
		b.number(b.lane.store.fenceTime().Milliseconds()), b.ctl(op, told))
}

// roomScript puts one call of a room script: its keys, then what counts for
// all, then each operation.
func (b *batch) roomScript(r *run) {
	all := &b.lane.store.scripts
	switch r.kind {
	case presence.OpJoin:
		b.eval(all.join, len(r.tasks))
	case presence.OpUpdate:
		b.eval(all.update, len(r.tasks))
	case presence.OpLeave:
		b.eval(all.leave, len(r.tasks))
	case opMark:
		b.eval(all.mark, len(r.tasks))
	case opAdopt:
		b.eval(all.adopt, len(r.tasks))
	case opAssert:
		b.eval(all.assert, len(r.tasks))
	}
	for i := range r.tasks {
		b.put(b.members(r.tasks[i].op))
	}
	b.put(b.number(b.validUntil))
	switch r.kind {
	case presence.OpJoin:
		b.put(b.number(b.floor), b.str(b.grant.stamp), b.number(int64(r.max)))
	case presence.OpUpdate:
		b.put(b.number(b.floor), b.str(b.grant.stamp))
	case presence.OpLeave:
		b.put(b.number(b.floor))
	case opAdopt:
		b.put(b.str(b.grant.stamp))
	case opAssert: // what was acknowledged stays, whatever the limit is now
		b.put(b.number(b.floor), b.str(b.grant.stamp), wordZero)
	}
	for i := range r.tasks {
		t := &r.tasks[i]
		if r.kind == opAdopt {
			b.put(b.id(t.op), b.number(t.op.Inc), b.number(t.step.from))
			continue
		}
		b.put(b.room(t.op, ":feed"))
		if r.kind == presence.OpJoin || r.kind == opAssert {
			b.lane.store.doubts.joining(t.op)
		}
		switch r.kind {
		case opAssert:
			b.put(b.id(t.op), b.number(t.op.Inc), b.number(t.op.At), b.tail(t.op))
		case presence.OpJoin, presence.OpUpdate:
			retry := wordZero
			if t.retry {
				retry = wordOne
			}
			b.put(b.id(t.op), b.number(t.op.Inc), retry, b.tail(t.op))
		case presence.OpLeave:
			b.put(b.id(t.op), b.number(t.op.Inc), b.str(string(t.op.Reason)), b.raw(t.op.Data))
		case opMark:
			b.put(b.number(int64(t.op.Revision)))
		}
	}
}

// put appends arguments to the command that is being made.
func (b *batch) put(args ...any) { b.anys = append(b.anys, args...) }

// eval begins a call of a script with n keys.
func (b *batch) eval(s script, n int) { b.put(wordEvalSha, s.boxed, n) }

// command ends the command that began at start.
func (b *batch) command(start int) *redis.Cmd {
	cmd := redis.NewCmd(context.Background(), b.anys[start:len(b.anys):len(b.anys)]...)
	b.cmds = append(b.cmds, cmd)
	return cmd
}

// raw makes an argument of text that stays as it is until the reply.
func (b *batch) raw(text []byte) any {
	a := arg{text: text}
	if len(b.args) == 0 {
		a.first = b // every pipeline's first argument is one of these
	}
	b.args = append(b.args, a)
	return &b.args[len(b.args)-1]
}

// since makes an argument of what was appended to b.text behind start.
func (b *batch) since(start int) any { return b.raw(b.text[start:len(b.text):len(b.text)]) }

func (b *batch) str(s string) any {
	start := len(b.text)
	b.text = append(b.text, s...)
	return b.since(start)
}

func (b *batch) number(n int64) any {
	start := len(b.text)
	b.text = strconv.AppendInt(b.text, n, 10)
	return b.since(start)
}

func (b *batch) id(op *presence.Op) any {
	start := len(b.text)
	b.text = op.Conn.AppendTo(b.text)
	return b.since(start)
}

func (b *batch) members(op *presence.Op) any { return b.room(op, ":members") }

// room is a key or channel of the operation's room.
func (b *batch) room(op *presence.Op, rest string) any {
	start := len(b.text)
	b.text = b.lane.store.keys.appendRoom(b.text, op.App, op.Room, rest)
	return b.since(start)
}

// name is the operation's room with its app, as a session lists it; nothing
// for an operation on the session's fence.
func (b *batch) name(op *presence.Op) any {
	if op.Room == "" {
		return wordNothing
	}
	return b.roomName(op.App, op.Room)
}

// roomName is a room with its app, as a session lists it.
func (b *batch) roomName(app, room string) any {
	start := len(b.text)
	b.text = append(append(append(b.text, app...), ':'), room...)
	return b.since(start)
}

// conn is a key of the operation's connection.
func (b *batch) conn(op *presence.Op, rest string) any {
	start := len(b.text)
	b.text = b.lane.store.keys.appendShard(b.text, op.Conn.Shard(), rest)
	b.text = op.Conn.AppendTo(b.text)
	return b.since(start)
}

func (b *batch) due(op *presence.Op) any {
	start := len(b.text)
	b.text = b.lane.store.keys.appendShard(b.text, op.Conn.Shard(), ":due")
	return b.since(start)
}

// ctl is the channel of notices to a node about the operation's connection.
func (b *batch) ctl(op *presence.Op, stamp string) any {
	start := len(b.text)
	b.text = append(b.lane.store.keys.appendShard(b.text, op.Conn.Shard(), ":ctl:"), stamp...)
	return b.since(start)
}

func (b *batch) index(op *presence.Op, stamp string) any {
	start := len(b.text)
	b.text = append(b.lane.store.keys.appendShard(b.text, op.Conn.Shard(), ":node:"), stamp...)
	return b.since(start)
}

// tail is the opaque end of a member's value, that we only ever copy.
func (b *batch) tail(op *presence.Op) any {
	start := len(b.text)
	b.text = append(b.text, `"client":`...)
	b.text = append(b.text, op.ClientJSON...)
	if op.Data != nil {
		b.text = append(b.text, `,"data":`...)
		b.text = append(b.text, op.Data...)
	}
	b.text = append(b.text, '}')
	return b.since(start)
}
