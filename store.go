package presence

import "time"

// OpKind names an operation on the store. The words of [OpKind.String] are the
// `op` labels of the metrics.
type OpKind uint8

// The operations that the edge asks of the store.
const (
	OpOpen          OpKind = iota + 1 // make a session: Conn, Key, Client, Grace → Inc
	OpTrack                           // list or change a room in the session: Track, MaxRooms
	OpUntrack                         // take a room out of the session's list
	OpJoin                            // become a member or replace the data: Client, Data, MaxMembers → Revision
	OpUpdate                          // replace a member's data → Revision
	OpLeave                           // end a membership: Reason, Data → Revision, 0 when not a member
	OpMembers                         // read a room → Snapshot
	OpCount                           // count a room's members → Revision, Count
	OpPublish                         // send Data to the room's message subscribers
	OpWatch                           // host the room: Sink gets its events above the answered Revision
	OpWatchMessages                   // Sink gets the room's messages from the answer on
)

// String returns the word of k in metrics and logs.
func (k OpKind) String() string {
	switch k {
	case OpOpen:
		return "open"
	case OpTrack:
		return "track"
	case OpUntrack:
		return "untrack"
	case OpJoin:
		return "join"
	case OpUpdate:
		return "update"
	case OpLeave:
		return "leave"
	case OpMembers:
		return "members"
	case OpCount:
		return "count"
	case OpPublish:
		return "publish"
	case OpWatch:
		return "watch"
	case OpWatchMessages:
		return "watch_messages"
	}
	return "unknown"
}

// Op is one operation on the store: the caller fills the first part, the store
// the second, and Done is told when the outcome is there.
//
// An Op belongs to the store from Submit until Done, and again from a Done
// with Unknown until the second one. The byte slices are read until then.
type Op struct {
	Kind   OpKind
	App    string
	Room   string // without its app; "" for OpOpen
	Conn   ConnID
	Inc    int64         // the connection's incarnation; not for OpOpen
	Key    string        // OpOpen: public key, "app.key"
	Client string        // OpOpen: clientId as text, "" when none
	Grace  time.Duration // OpOpen

	// OpTrack: the session's entry of this room, `FLAG REV SUBS`
	// (redis.md section 1, session value), and the most rooms one may list.
	Track    string
	MaxRooms int

	ClientJSON []byte // OpJoin, OpUpdate: the clientId as JSON string
	Data       []byte // compact JSON; nil: none was sent. OpPublish: the message
	MaxMembers int    // OpJoin: 0 = no limit
	Reason     Reason // OpLeave

	Sink RoomSink // OpWatch, OpWatchMessages

	Done Completion

	// Filled by the store.

	Err      *Error   // nil when it succeeded
	Ended    bool     // Err is set: the connection is no longer this node's, so nothing of it can succeed any more
	Unknown  bool     // Err is set, but the operation may still take effect: Done comes again when that is settled
	Revision Revision // of the change, or at which the answer is true; 0: nothing changed, or empty room
	NewInc   int64    // OpOpen
	Count    int64    // OpCount
	Snapshot Snapshot // OpMembers: in no order
}

// Completion is told how an operation ended. Done may be called on any
// goroutine and must not block. It is called once, or twice when the first
// call had Unknown set; the first call comes within 2 s of the submit.
type Completion interface {
	OpDone(*Op)
}

// RoomSink receives what happens in one hosted room, in order and never
// concurrently. Its methods must not block; their arguments are shared and
// must not be changed. An event above the revision that an OpWatch answered
// comes after that answer, one at or below it may come before or not at all.
type RoomSink interface {
	RoomEvent(*Event)
	RoomMessage(payload []byte)
}

// Departure is the end of a connection: every membership of it ends once.
type Departure struct {
	App        string
	Conn       ConnID
	Inc        int64
	Reason     Reason   // ReasonClosed or ReasonTimeout
	Rooms      []string // rooms in which it may be a member, for a store that has forgotten its session
	Unanswered bool     // operations of it were still without an answer: they may yet take effect
}

// Check is one line of a node's readiness.
type Check struct {
	Name  string    // what was looked at, such as "lease" or "feed"
	OK    bool      //
	Since time.Time // since when it is as it is
	Text  string    // one sentence: what is wrong, or how it is
}
