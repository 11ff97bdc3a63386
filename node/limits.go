package node

import (
	"time"
)

// Bounds of the edge, each with its policy and its metric
// (presence_limit_hits_total{limit}).
//
//	heads          handshakes without a whole head, a loop   accept pauses for that loop
//	connections    sockets of this node                      503, closed
//	in_flight      requests of one connection                its socket is not read
//	requests       rate of one connection                    RateLimitError
//	partial        bytes of half-read frames, a loop         the frame that goes over is closed with 1008
//	queue_bytes    bytes that one peer does not take         closed as slow consumer
//	queue_age      time that it takes no byte                the same
//	reply          one list of members                       PayloadTooLargeError
const (
	maxHead          = 8 << 10  // bytes of a request head
	maxPartial       = 64 << 20 // bytes of half-read frames, a loop
	framesPerTurn    = 64       // frames of one connection in one turn
	halfFrameSeconds = 10
	closeSeconds     = 2 // for the peer's close frame, or the end of a refused request
	badFrames        = 3 // frames without a readable ackId until the socket is closed
	jobStep          = 256
	jobBytes         = 32 << 10 // frames of one room that travel in one send
	authoriseMs      = 1500     // for the store's answer to an upgrade: the public client waits for 2 s in all
	waitMs           = 1800     // a request that could not be sent to the store by then is refused
)

// Rate is a number of requests in a time: Burst at once, and Burst again in Per.
// The zero Rate is no limit.
type Rate struct {
	Burst int
	Per   time.Duration
}

// bucket is a rate's state for one connection, in 4 bytes: the "theoretical
// arrival time" of the generic cell rate algorithm, in 1/8 ms of the loop's
// clock. It wraps after six days, and a bucket idle for half of that is full.
type bucket uint32

// take reports whether one more request fits now, and else after how long.
func (b *bucket) take(r Rate, now uint32) (ok bool, wait time.Duration) {
	if r.Burst <= 0 || r.Per <= 0 {
		return true, 0
	}
	per := int32(r.Per / (time.Millisecond / 8))
	step := per / int32(r.Burst)
	ahead := int32(uint32(*b) - now)
	if ahead < 0 || ahead > per+step { // idle, or a time from before a wrap
		ahead = 0
	}
	if ahead > per-step {
		return false, time.Duration(ahead-(per-step)) * (time.Millisecond / 8)
	}
	*b = bucket(now + uint32(ahead+step))
	return true, 0
}

// Limits are the bounds of what a client may send and hold. 0 is no limit
// where the field says so.
type Limits struct {
	Frame         int  // bytes of a frame or a fragmented message; above: closed with 1009
	Message       int  // bytes of a request; above: PayloadTooLargeError
	Data          int  // bytes of a member's data
	Reply         int  // bytes of a list of members
	Depth         int  // JSON nesting
	RoomName      int  // bytes
	ClientID      int  // bytes
	EventName     int  // bytes
	Rooms         int  // rooms of a connection; 0: none
	Members       int  // members of a room; 0: none
	Subscriptions int  // event names of a room and connection; 0: none
	InFlight      int  // requests of a connection without an answer
	Requests      Rate // room create, room join, publish, presence update, of a connection
	OtherRequests Rate // all others but leaves, unsubscribes and unbinds
}

func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }
