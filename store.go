package presence

import "time"

// OpKind names an operation on the store. The words of [OpKind.String] are the
// `op` labels of the metrics.
type OpKind uint8

// The operations that the edge asks of the store.
const (
	OpOpen          OpKind = iota + 1 // make a session: Conn, Key, Client, Grace, Secret → NewInc
	OpTrack                           // list or change a room in the session: Track, MaxRooms
	OpUntrack                         // take a room out of the session's list
	OpJoin                            // become a member or replace the data: Client, Data, MaxMembers → Revision, At
	OpUpdate                          // replace a member's data → Revision
	OpLeave                           // end a membership: Reason, Data → Revision, 0 when not a member
	OpMembers                         // read a room → Snapshot
	OpCount                           // count a room's members → Revision, Count
	OpPublish                         // send Data to the room's message subscribers
	OpWatch                           // host the room: Sink gets its events above the answered Revision
	OpWatchMessages                   // Sink gets the room's messages from the answer on
	OpResume                          // take a session over, or make it under the same id: as OpOpen → NewInc, Restored
	OpReclaim                         // make the store hold a connection as it is here: as OpOpen, Inc, Holds → NewInc, Holds
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
	case OpResume:
		return "resume"
	case OpReclaim:
		return "reclaim"
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
	Inc    int64         // the connection's incarnation; not for OpOpen and OpResume
	Key    string        // OpOpen, OpResume, OpReclaim: public key, "app.key"
	Client string        // the same: clientId as text, "" when none
	Grace  time.Duration // the same
	Secret string        // the same: SHA-256 of the resume secret, lower-case hex; "" when there is none

	// OpTrack: the session's entry of this room, `FLAG REV SUBS`
	// (redis.md section 1, session value), and the most rooms one may list.
	Track    string
	MaxRooms int

	ClientJSON []byte // OpJoin, OpUpdate: the clientId as JSON string
	Data       []byte // compact JSON; nil: none was sent. OpPublish: the message
	MaxMembers int    // OpJoin: 0 = no limit
	Reason     Reason // OpLeave

	Sink RoomSink // OpWatch, OpWatchMessages

	// OpWatch: what a subscription that is resumed must be told first. nil:
	// it begins anew.
	Replay *Replay

	// OpReclaim: the rooms of the connection, as this node knows them.
	Holds []Hold

	Done Completion

	// Filled by the store.

	Err      *Error    // nil when it succeeded
	Ended    bool      // Err is set: the connection is no longer this node's, so nothing of it can succeed any more
	Unknown  bool      // Err is set, but the operation may still take effect: Done comes again when that is settled
	Revision Revision  // of the change, or at which the answer is true; 0: nothing changed, or empty room
	At       int64     // OpJoin: Unix milliseconds of the membership's first join, Redis's clock; 0: not known
	NewInc   int64     // OpOpen, OpResume, OpReclaim
	Restored *Restored // OpResume: what the connection was; nil: it is new
	Replayed []*Event  // OpWatch with Replay: what was missed, in the order in which it is told, nothing above Revision
	Count    int64     // OpCount
	Snapshot Snapshot  // OpMembers: in no order
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

// Restored is what a connection was before it was resumed.
type Restored struct {
	State string // "live" (taken over), "grace" or "away"
	From  string // stamp of the node that held it, "" when that is not known
	Lost  int64  // Unix milliseconds at which its socket was lost, Redis's clock; of one that was live, the earliest that it may have been; 0: not known
	Rooms []Listed
}

// Memberships returns the rooms in which its membership goes on.
func (r *Restored) Memberships() (rooms []string) {
	for i := range r.Rooms {
		if r.Rooms[i].Member {
			rooms = append(rooms, r.Rooms[i].Room)
		}
	}
	return rooms
}

// Listed is a room in the session of a connection that was resumed.
type Listed struct {
	Room     string
	Track    string   // the session's entry, `FLAG REV SUBS`; FLAG is never x
	Handed   Revision // of the last event that the lost socket was handed; 0: not known; 1: the room was empty
	Member   bool     // its membership goes on, without any event
	Revision Revision // of the member
	At       int64    // of the member: Unix milliseconds of its first join
	Data     []byte   // of the member, JSON; nil when none was sent
}

// Hold is a room of a connection that is live here: what must be in the store.
type Hold struct {
	Room  string
	Track string // the session's entry, `FLAG REV SUBS`
	// Member: a join was acknowledged and no leave since. Then ClientJSON
	// and Data are what the members' hash must hold. At is that of the join's
	// answer: a member that was lost goes on as the one that it was. 0: not known.
	Member     bool
	ClientJSON []byte
	Data       []byte
	At         int64 // the store changes it to that of the member which it finds

	// Filled by the store.

	Revision Revision // of the member, 0: it is none
}

// Replay says from where a resumed subscription goes on.
type Replay struct {
	Conn   ConnID
	Handed Revision // as in Listed
	From   string   // stamp of the node that held the connection, "" when that is not known
	Lost   int64    // Unix milliseconds, as in Restored
}

// Detachment is a lost socket. The memberships of its connection go on for the
// grace, in which it may be resumed, on any node.
type Detachment struct {
	App        string
	Conn       ConnID
	Inc        int64
	Grace      time.Duration
	Reason     Reason   // of the leaves when it does not come back: ReasonTimeout
	Rooms      []string // rooms in which it may be a member, for a store that has forgotten its session
	Handed     []Handed // rooms of which it was sent events
	Unsent     int      // bytes that it was sent and its peer has not taken
	Unanswered bool     // operations of it were still without an answer: they may yet take effect
}

// Handed is the last event of a room that a socket was handed.
type Handed struct {
	Room     string
	Revision Revision // 1: the room was empty and nothing came since
	Kinds    uint8    // of the events that it was sent, bit kind-1 for each; 0: all
}

// Sent reports whether the socket was sent events of kind k.
func (h Handed) Sent(k Kind) bool { return h.Kinds == 0 || h.Kinds&(1<<(k-1)) != 0 }

// Held is a connection that is live on this node.
type Held struct {
	Conn ConnID
	Inc  int64
}

// Edge is what the store tells and asks the node whose connections it keeps.
// Its methods are called on any goroutine and must not block; each answer is
// given once, on any goroutine, and may be given before the method returns.
type Edge interface {
	// Taken says that another socket, here or elsewhere, has the connection
	// under incarnation inc. A socket of a lower one is forgotten in silence,
	// and the store is told by Release what it had been handed.
	Taken(conn ConnID, inc int64)
	// Late asks for the acknowledgements that are owed to the connection's
	// lost socket: the payloads of text frames, complete within 2 s. They are
	// given away: nobody else gets them.
	Late(conn ConnID, answer func(payloads [][]byte))
	// Connections asks for every connection that is live here.
	Connections(answer func([]Held))
	// Reclaim says that the store may hold less than was acknowledged: it lost
	// its data or a part of it, or this node's stamp. Every connection that is
	// live here must be reclaimed (OpReclaim) before it does anything else.
	// epoch grows with each call.
	Reclaim(epoch int64)
}

// Departure is the end of a connection: every membership of it ends once.
type Departure struct {
	App        string
	Conn       ConnID
	Inc        int64
	Reason     Reason
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
