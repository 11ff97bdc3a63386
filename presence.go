package presence

import (
	"crypto/rand"
	"encoding/hex"
)

// Revision is a room's change counter. It begins at Redis's clock in µs when
// the room fills and grows by one with each event (redis.md section 2); 0 is
// the revision of an empty room. It stays below 2^53, so that JavaScript and
// Lua hold it exactly.
type Revision int64

// Kind says what an [Event] is about.
type Kind uint8

// The kinds of event. Join, update and leave go to subscribers; a mark only
// moves the room's revision and is never shown to a client.
const (
	KindJoin Kind = iota + 1
	KindUpdate
	KindLeave
	KindMark
)

// String returns the word that stands for k on the wire, in Redis and in
// metric labels.
func (k Kind) String() string {
	switch k {
	case KindJoin:
		return "join"
	case KindUpdate:
		return "update"
	case KindLeave:
		return "leave"
	case KindMark:
		return "mark"
	}
	return "unknown"
}

// ParseKind is the inverse of [Kind.String]; it returns 0 for any other word.
func ParseKind(s string) Kind {
	switch s {
	case "join":
		return KindJoin
	case "update":
		return KindUpdate
	case "leave":
		return KindLeave
	case "mark":
		return KindMark
	}
	return 0
}

// Reason says why a membership ended. The words are one closed set and the
// same on the wire, in Redis, in logs and in metrics.
type Reason string

// The reasons of a leave.
const (
	ReasonLeft     Reason = "left"      // presence.leave
	ReasonRoomLeft Reason = "room_left" // room.leave
	ReasonClosed   Reason = "closed"    // clean end of the socket
	ReasonTimeout  Reason = "timeout"   // socket lost and not back in time
	ReasonNodeLost Reason = "node_lost" // the node that held it died
	ReasonKicked   Reason = "kicked"    // by order of an operator or a key
	ReasonExpired  Reason = "expired"   // end of a presence over HTTP, or of a token
	ReasonUnknown  Reason = "unknown"   // found out by a repair only
)

// Reasons lists every [Reason], in the order of the constants.
func Reasons() []Reason {
	return []Reason{
		ReasonLeft, ReasonRoomLeft, ReasonClosed, ReasonTimeout,
		ReasonNodeLost, ReasonKicked, ReasonExpired, ReasonUnknown,
	}
}

// ConnID is the part of a connection id after "appId:": 80 random bits,
// written as 20 lower-case hex digits. Its first byte is the connection's
// shard (c00 to cff). It is public: it names a connection and grants nothing.
type ConnID [10]byte

// NewConnID returns a fresh random id.
func NewConnID() ConnID {
	var id ConnID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}

// ParseConnID reads 20 lower-case hex digits; ok is false for anything else.
func ParseConnID(s string) (id ConnID, ok bool) {
	if len(s) != 2*len(id) {
		return id, false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return id, false
		}
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// String returns the 20 hex digits.
func (id ConnID) String() string { return string(id.AppendTo(nil)) }

// AppendTo appends the 20 hex digits to dst.
func (id ConnID) AppendTo(dst []byte) []byte { return hex.AppendEncode(dst, id[:]) }

// Shard returns the number of the connection's shard, 0 to 255.
func (id ConnID) Shard() int { return int(id[0]) }

// Event is one change of a room, as Redis published it.
//
// Client and Data are JSON text exactly as stored, and are never decoded and
// encoded again (invariant 9). They point into the feed's buffer or a copy of
// it and must not be changed.
type Event struct {
	Kind     Kind
	Revision Revision
	Prev     Revision // the room's revision before it; 0: the room was empty
	Conn     ConnID   // zero for a mark
	Time     int64    // Unix milliseconds, Redis's clock
	Reason   Reason   // leaves only, "" otherwise
	At       int64    // Unix milliseconds of the membership's join
	Inc      int64    // incarnation that wrote the member
	Client   []byte   // JSON string, with its quotes
	Data     []byte   // JSON value; nil when none was sent
}

// Member is one connection in one presence set.
type Member struct {
	Conn     ConnID
	Revision Revision // of its last join or update
	At       int64    // Unix milliseconds of its join, Redis's clock
	Inc      int64    // incarnation that wrote it
	Node     string   // stamp of the node that holds the connection
	Client   []byte   // JSON string, with its quotes
	Data     []byte   // JSON value; nil when none was sent
}

// Snapshot is the members of a room at one revision. An empty room has
// revision 0 and no member.
type Snapshot struct {
	Revision Revision
	Members  []Member
}
