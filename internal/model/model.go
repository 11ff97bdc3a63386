// Package model is the presence machine in plain Go: what the Lua scripts do
// to rooms, sessions and nodes, without Redis, keys or Lua.
//
// It is the naive twin that the scripts are tested against: an [Op] runs on a
// [State] here and as a script on a real Redis, and both must answer the same
// and hold the same after it. The tests also drive it alone, which is some
// hundred times faster, to look for interleavings that the design forgot.
//
//	model.go    the state and what all operations share
//	room.go     join, update, leave, adopt, assert, mark
//	session.go  open, track, adopted, untrack, detach, resume, close
//	reap.go     claim, finish, orphan; register, beat, condemn, retire, bury
//	call.go     each operation as the call of its script
//
// The tests, from the clearest to the longest: guard_test.go tells for every
// guard of the scripts the story that it is there for; saga_test.go takes random
// steps in the world of world_test.go; race_test.go is the real clock and many
// goroutines. PRESENCE_RAPID_CHECKS and -race.duration make them longer.
//
// When a script changes, the operation here changes with it.
package model

import (
	"fmt"
	"maps"
	"strconv"
)

// State is everything that Redis holds of us. Its parts are those of
// docs/redis.md, without their keys; it has one shard of connections.
type State struct {
	Now int64 // Redis's clock, Unix microseconds

	Rooms    map[string]*Room            // app:room → members; none is empty
	Sessions map[string]*Session         // connection → session
	Index    map[string]map[string]int64 // stamp → connection → inc
	Grace    map[string]Expiring         // connection → inc, as its grace key
	Due      map[string]int64            // connection → deadline, ms
	Epochs   map[string]int64            // node id → last epoch
	Registry map[string]string           // stamp → what the node says of itself
	NodesDue map[string]int64            // stamp → end of its lease, or its reaper's deadline, ms
	Reaping  map[string]Condemned        // stamp → since when
	Leases   map[string]Expiring         // stamp → its last beat, ms

	Published []string // channel without prefix, space, line: in order
}

// Room is a presence set.
type Room struct {
	Rev     int64
	Members map[string]Member
}

// Member is one entry of a room. Client and Data are JSON; Data is "" when
// none was sent.
type Member struct {
	Rev, Inc     int64
	Node         string
	At           int64
	Client, Data string
}

// Session is one connection. Zero means that the field is not there, but for
// Key and Client.
type Session struct {
	App, Key, Client, Secret string
	Node                     string
	Inc, From                int64
	State                    string
	Grace, Due, Fence        int64
	Why                      string
	Rooms                    map[string]Listed
}

// Listed is a room in a session.
type Listed struct {
	Flag string
	Rev  int64
	Subs string
}

// Expiring is a string key with an end, ms.
type Expiring struct {
	Value, End int64
}

// Condemned is a stamp that is being reaped; both ms.
type Condemned struct {
	LeaseEnd, At int64
}

// Refused is the error that a whole call was answered with.
type Refused string

// Op is one call of one script. Its answer is what go-redis makes of the
// script's: an int64, a string, a []any of these, a [Refused]; the fields of a
// session are a map[string]string.
type Op interface {
	// Run changes the state as the script would.
	Run(*State) any
	// Call is the same as a script and what it is given. p is the prefix.
	Call(p string) Call
}

// Call is a script with its keys and arguments.
type Call struct {
	Script string
	Keys   []string
	Args   []any
}

// New returns an empty state at a time, Unix microseconds.
func New(now int64) *State {
	return &State{
		Now: now, Rooms: map[string]*Room{}, Sessions: map[string]*Session{}, Index: map[string]map[string]int64{},
		Grace: map[string]Expiring{}, Due: map[string]int64{}, Epochs: map[string]int64{}, Registry: map[string]string{},
		NodesDue: map[string]int64{}, Reaping: map[string]Condemned{}, Leases: map[string]Expiring{},
	}
}

// MS is Redis's clock in milliseconds.
func (s *State) MS() int64 { return s.Now / 1000 }

// Advance moves the clock by ms and lets end what has a TTL.
func (s *State) Advance(ms int64) {
	s.Now += ms * 1000
	over := func(_ string, e Expiring) bool { return e.End < s.MS() }
	maps.DeleteFunc(s.Grace, over)
	maps.DeleteFunc(s.Leases, over)
}

func (s *State) publish(channel, line string) {
	s.Published = append(s.Published, channel+" "+line)
}

func (s *State) index(stamp, conn string, inc int64) {
	if s.Index[stamp] == nil {
		s.Index[stamp] = map[string]int64{}
	}
	s.Index[stamp][conn] = inc
}

// unindex keeps to Redis's rule that a hash without fields is not there.
func (s *State) unindex(stamp, conn string) {
	if delete(s.Index[stamp], conn); len(s.Index[stamp]) == 0 {
		delete(s.Index, stamp)
	}
}

// Tail is the end of a member's value, as clients made it.
func Tail(client, data string) string {
	if data == "" {
		return `"client":` + client + "}"
	}
	return `"client":` + client + `,"data":` + data + "}"
}

// String is the member as it is stored.
func (m Member) String() string {
	return fmt.Sprintf(`{"rev":%d,"inc":%d,"node":"%s","at":%d,%s`, m.Rev, m.Inc, m.Node, m.At, Tail(m.Client, m.Data))
}

// String is the entry as it is stored.
func (l Listed) String() string { return fmt.Sprintf("%s %d %s", l.Flag, l.Rev, l.Subs) }

// Fields is the session as HGETALL shows it.
func (s *Session) Fields() map[string]string {
	m := map[string]string{
		"app": s.App, "key": s.Key, "client": s.Client, "node": s.Node, "inc": decimal(s.Inc), "from": decimal(s.From),
		"state": s.State, "grace": decimal(s.Grace),
	}
	for name, v := range map[string]string{"secret": s.Secret, "why": s.Why} {
		if v != "" {
			m[name] = v
		}
	}
	for name, v := range map[string]int64{"due": s.Due, "fence": s.Fence} {
		if v != 0 {
			m[name] = decimal(v)
		}
	}
	for room, l := range s.Rooms {
		m["room:"+room] = l.String()
	}
	return m
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
