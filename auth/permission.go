package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Permission is one thing that a key may do in a room.
type Permission string

// The permissions, by the words of the wire protocol (section 5). Those below
// PermPresence belong to features that this server does not have; they count
// as "any permission" for a room join.
const (
	PermCreate    Permission = "create"
	PermJoin      Permission = "join"
	PermSubscribe Permission = "subscribe"
	PermPublish   Permission = "publish"
	PermPresence  Permission = "presence"
	PermMetrics   Permission = "metrics"
	PermHistory   Permission = "history"
	PermIntellect Permission = "intellect"
	PermStorage   Permission = "storage"
	PermPrivacy   Permission = "privacy"
	PermAll       Permission = "*"
)

// words are the permissions in the order of their bits in a set.
var words = [...]Permission{
	PermCreate, PermJoin, PermSubscribe, PermPublish, PermPresence,
	PermMetrics, PermHistory, PermIntellect, PermStorage, PermPrivacy,
}

// set is a set of permissions, a bit each.
type set uint16

// bit returns the set of one permission: all of them for PermAll, none for an
// unknown word.
func (p Permission) bit() set {
	if p == PermAll {
		return 1<<len(words) - 1
	}
	if i := slices.Index(words[:], p); i >= 0 {
		return 1 << i
	}
	return 0
}

// Permissions says what is allowed in which room. It does not change after it
// was made. A nil *Permissions allows nothing.
//
// For a room one entry decides: the one of exactly its name; else the most
// specific pattern that matches; else the entry `*`; else nothing is allowed.
type Permissions struct {
	exact    map[string]set
	patterns []pattern // most specific first
}

// pattern is a room name cut at its colons, in which `*` stands for one part,
// and at the end for one or more.
type pattern struct {
	parts []string
	set   set
}

// AllPermissions allows everything in every room.
func AllPermissions() *Permissions {
	return &Permissions{patterns: []pattern{{parts: []string{"*"}, set: PermAll.bit()}}}
}

// NewPermissions makes the list form: the same words for every room. It fails
// on a word that is no permission.
func NewPermissions(list []string) (*Permissions, error) {
	s, err := parseSet(list)
	if err != nil {
		return nil, err
	}
	return &Permissions{patterns: []pattern{{parts: []string{"*"}, set: s}}}, nil
}

// RoomPermissions is one entry of the map form: a room name or pattern, and
// what it allows.
type RoomPermissions struct {
	Room string
	List []string
}

// NewRoomPermissions makes the map form. It fails on a word that is no
// permission and on a name that is empty or comes twice.
func NewRoomPermissions(entries []RoomPermissions) (*Permissions, error) {
	p := &Permissions{exact: make(map[string]set)}
	for _, e := range entries {
		if e.Room == "" {
			return nil, fmt.Errorf("a room name is empty; %q stands for all rooms", "*")
		}
		if _, twice := p.exact[e.Room]; twice {
			return nil, fmt.Errorf("room %q comes twice", e.Room)
		}
		s, err := parseSet(e.List)
		if err != nil {
			return nil, fmt.Errorf("room %q: %w", e.Room, err)
		}
		p.exact[e.Room] = s // a room may have exactly the pattern's name
		if parts := strings.Split(e.Room, ":"); slices.Contains(parts, "*") {
			p.patterns = append(p.patterns, pattern{parts, s})
		}
	}
	slices.SortFunc(p.patterns, moreSpecific)
	return p, nil
}

// Allows says whether perm is given in the room; PermAll asks for all of them.
// It allocates nothing.
func (p *Permissions) Allows(room string, perm Permission) bool {
	b := perm.bit()
	return b != 0 && p.of(room)&b == b
}

// Any says whether anything is given in the room, which is what a room join
// asks for. It allocates nothing.
func (p *Permissions) Any(room string) bool { return p.of(room) != 0 }

func (p *Permissions) of(room string) set {
	if p == nil {
		return 0
	}
	if s, ok := p.exact[room]; ok {
		return s
	}
	for i := range p.patterns {
		if p.patterns[i].matches(room) {
			return p.patterns[i].set
		}
	}
	return 0
}

func (p *pattern) matches(room string) bool {
	for i, want := range p.parts {
		part, rest, more := strings.Cut(room, ":")
		last := i == len(p.parts)-1
		switch {
		case want == "*" && last:
			return true
		case want != "*" && want != part:
			return false
		case last:
			return !more
		case !more:
			return false // the pattern has more parts than the room
		}
		room = rest
	}
	return false
}

// moreSpecific orders patterns: most literal parts first, then most parts,
// then the one whose literal parts come earlier, then by name, so that two
// patterns never tie.
func moreSpecific(a, b pattern) int {
	if d := b.literals() - a.literals(); d != 0 {
		return d
	}
	if d := len(b.parts) - len(a.parts); d != 0 {
		return d
	}
	for i := range a.parts {
		if aStar, bStar := a.parts[i] == "*", b.parts[i] == "*"; aStar != bStar {
			if aStar {
				return 1
			}
			return -1
		}
	}
	return slices.Compare(a.parts, b.parts)
}

func (p pattern) literals() (n int) {
	for _, part := range p.parts {
		if part != "*" {
			n++
		}
	}
	return n
}

func parseSet(list []string) (s set, err error) {
	for _, word := range list {
		b := Permission(word).bit()
		if b == 0 {
			return 0, fmt.Errorf("%q is no permission; want one of %s", word, wordList())
		}
		s |= b
	}
	return s, nil
}

func wordList() string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(string(w) + ", ")
	}
	return b.String() + string(PermAll)
}
