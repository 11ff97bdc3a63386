package redisstore

import (
	"strings"
	"sync"
	"time"

	presence "presencesets"
)

// The saga of a departure. Rooms live in other slots than the session, so the
// end of a connection is several scripts. Each is atomic, may be repeated, and
// leaves something in `due` until the last, so that whoever dies between two
// of them loses nothing:
//
//	Depart ──▶ close ──▶ leave × rooms ──▶ finish ──▶ (gone, or away)
//	             └─ from here in `due`: after claimTime anybody ─▶ claim ──▶ leave × rooms ──▶ finish
//	Detach ──▶ detach ──▶ [grace] ──▶ claim ──▶ …                  (detach.go, expiry.go)
//
// What Redis does not answer is owed: the departure is kept, one for each
// connection, and goes on from where it is until every step was answered.
//
// close lists the rooms, so that a departure needs no memory of its own. When
// operations of the connection are unanswered, close leaves a fence: until
// when one of them may still take effect. finish forgets nothing before it,
// and at the fence the due list makes all leaves again.
//
// A connection that was lost leaves its session behind, without memberships
// (`away`), for the retention: its rooms and subscriptions can be resumed. One
// that was closed, kicked or has expired leaves nothing.

// stage is where a departure is.
type stage uint8

const (
	stageRead   stage = iota // the incarnation is not known: read the session
	stageCover               // from where must a resume replay
	stageDetach              // begin the grace
	stageLook                // it was not live: read the session
	stageClose               // begin the end
	stageLeave               // end the memberships
	stageFinish              // forget the session
)

// departure is the end of one connection.
type departure struct {
	// set once
	all      *departures
	app      string // of a detachment
	conn     presence.ConnID
	began    int64 // the store's clock
	claim    int64 // the claim's time, 0 when it is our own
	claimed  bool  // it came from the due list
	cause    int64 // of a claimed one: Redis ms at which its socket was lost, 0 when not known
	seen     int64 // stageRead: the incarnation before it, which is somebody's
	repeated bool  // it was made before, and Redis may have lost it
	resumed  bool  // stageRead: a resume was not answered; if it was made, the connection is lost again
	unsent   int   // of a detachment: bytes that the peer has not taken
	after    func()
	id       int64 // the incarnation that it was begun with, 0 when that was not known

	// owned by whoever holds the departure: the lane's answer, or the loop
	stage  stage
	inc    int64
	reason presence.Reason
	fence  bool
	grace  time.Duration
	handed []presence.Handed
	known  []roomName // what the caller knows of its rooms
	lost   bool       // Redis has no session of it
	stamp  string     // whose index lists the connection
	left   int        // memberships that ended
	fails  int

	// mu protects, while leaves are under way
	mu      sync.Mutex
	rooms   []roomName // still to be left
	waiting int        // leaves without an answer
}

type roomName struct{ app, room string }

// proceed sends the step, or steps, of d's stage.
func (d *departure) proceed() {
	switch d.stage {
	case stageRead:
		d.send(&step{Op: presence.Op{Kind: opRead, Conn: d.conn}, then: d.haveRead})
	case stageCover:
		d.cover()
	case stageDetach:
		d.send(&step{
			Op:    presence.Op{Kind: opDetach, App: d.app, Conn: d.conn, Inc: d.inc, Grace: d.grace},
			fence: d.fence, handed: d.handed, then: d.haveDetached,
		})
	case stageLook:
		d.send(&step{Op: presence.Op{Kind: opRead, Conn: d.conn}, then: d.haveLooked})
	case stageClose:
		d.send(&step{
			Op:    presence.Op{Kind: opClose, Conn: d.conn, Inc: d.inc, Reason: d.reason},
			fence: d.fence, then: d.haveClosed,
		})
	case stageLeave:
		d.leave()
	case stageFinish:
		d.send(&step{
			Op:    presence.Op{Kind: opFinish, Conn: d.conn, Inc: d.inc},
			claim: d.claim, stamp: d.stamp, retention: d.retention(), then: d.haveFinished,
		})
	}
}

// retention is for how long the rooms of the connection can still be resumed.
func (d *departure) retention() time.Duration {
	switch d.reason {
	case presence.ReasonTimeout, presence.ReasonNodeLost:
		return d.all.store.opts.Retention
	}
	return 0
}

func (d *departure) send(s *step) {
	lane := d.all.store.lane(&s.Op)
	if !lane.push(task{op: &s.Op, step: s, at: d.all.store.clock()}) {
		d.all.forget(d)
	}
}

// haveRead goes on with the incarnation that the session shows. Only what this
// stamp made is ours: a session of an earlier one has been taken from us with
// it, and a later process may have our node's name.
func (d *departure) haveRead(s *step) {
	if !d.answered(s) {
		return
	}
	fields := sessionFields(s.fields)
	inc, ok := parseDecimal([]byte(fields["inc"]))
	if !ok || inc <= d.seen || fields["state"] != "live" || fields["node"] != d.all.store.Stamp() {
		d.all.done(d)
		return
	}
	d.inc, d.stage = inc, stageClose
	if d.resumed {
		ms, _ := parseDecimal([]byte(fields["grace"]))
		d.grace, d.stage = time.Duration(ms)*time.Millisecond, stageDetach
	}
	d.proceed()
}

// haveClosed goes on with the rooms that the session lists.
func (d *departure) haveClosed(s *step) {
	if !d.answered(s) {
		return
	}
	if len(s.fields) == 0 {
		// Somebody else ends it, or Redis has forgotten the session: then no
		// list but ours names the rooms. Where it is the former, our leaves
		// find nothing.
		d.stage, d.rooms, d.lost = stageLeave, d.known, true
		d.proceed()
		return
	}
	d.take(s.fields)
	d.proceed()
}

// take reads the session's fields: which rooms to leave, and how.
func (d *departure) take(list []string) {
	d.stage = stageLeave
	fields := sessionFields(list)
	d.stamp = fields["node"]
	if why := presence.Reason(fields["why"]); why != "" {
		d.reason = why
	}
	for i := 0; i+1 < len(list); i += 2 {
		if app, room, ok := parseRoomField(list[i]); ok {
			d.rooms = append(d.rooms, roomName{app, room})
		}
	}
}

// leave ends the memberships that are left.
func (d *departure) leave() {
	rooms := d.rooms
	if len(rooms) == 0 {
		d.haveLeft()
		return
	}
	d.rooms, d.waiting = nil, len(rooms)
	steps := make([]step, len(rooms))
	for i, r := range rooms {
		steps[i] = step{Op: presence.Op{
			Kind: presence.OpLeave, App: r.app, Room: r.room,
			Conn: d.conn, Inc: d.inc, Reason: d.reason,
		}, then: d.leftRoom}
		d.send(&steps[i])
	}
}

// leftRoom takes the answer of one leave.
func (d *departure) leftRoom(s *step) {
	d.mu.Lock()
	switch s.fate {
	case fateAnswered, fateFencedInc, fateBroken:
		// Left, or not a member, or a later incarnation's; or a key that is
		// nobody's room, of which an error was logged.
		if s.Op.Revision != 0 {
			d.left++
		}
	default:
		d.rooms = append(d.rooms, roomName{s.Op.App, s.Op.Room})
		if s.fate == fateFailed {
			d.fails++
		}
	}
	d.waiting--
	last := d.waiting == 0
	again := len(d.rooms) > 0
	d.mu.Unlock()
	switch {
	case !last:
	case again:
		d.all.owe(d)
	default:
		d.haveLeft()
	}
}

// haveLeft goes on when every leave was answered.
func (d *departure) haveLeft() {
	d.stage = stageFinish
	switch now := d.all.store.clock(); {
	case d.repeated:
	case !d.claimed:
		d.all.store.meters.departed(d.reason, time.Duration(now-d.began))
	case d.cause != 0:
		took := d.all.store.lease.grant.Load().lower(now) - d.cause
		d.all.store.meters.departed(d.reason, time.Duration(took)*time.Millisecond)
	}
	if d.lost {
		d.all.done(d)
		return
	}
	d.proceed()
}

func (d *departure) haveFinished(s *step) {
	if d.answered(s) {
		d.all.done(d)
	}
}

// answered reports whether the step was; if not, the departure is owed, or
// given up where repeating it cannot help.
func (d *departure) answered(s *step) bool {
	switch s.fate {
	case fateAnswered:
		return true
	case fateBroken, fateFencedInc:
		d.all.store.log.Error("a connection cannot be ended", "conn", d.conn.String(), "op", opName(s.Op.Kind), "err", s.Op.Err)
		d.all.done(d)
		return false
	case fateFailed:
		d.fails++
	}
	d.all.owe(d)
	return false
}

// sessionFields makes a map of field, value, …, without the rooms.
func sessionFields(list []string) map[string]string {
	fields := make(map[string]string, 12)
	for i := 0; i+1 < len(list); i += 2 {
		if !strings.HasPrefix(list[i], roomFieldPrefix) {
			fields[list[i]] = list[i+1]
		}
	}
	return fields
}

// roomNames puts the app before each room.
func roomNames(app string, rooms []string) []roomName {
	names := make([]roomName, len(rooms))
	for i, room := range rooms {
		names[i] = roomName{app, room}
	}
	return names
}
