package auth

import (
	"strings"
	"testing"
)

func TestTheListFormHoldsInEveryRoom(t *testing.T) {
	p, err := NewPermissions([]string{"subscribe", "presence"})
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"lobby", "a:b:c", "*", ":"} {
		if !p.Allows(room, PermSubscribe) || !p.Allows(room, PermPresence) || !p.Any(room) {
			t.Errorf("room %q: subscribe or presence is missing", room)
		}
		if p.Allows(room, PermPublish) || p.Allows(room, PermAll) || p.Allows(room, "nonsense") {
			t.Errorf("room %q: publish, all or nonsense is there", room)
		}
	}
}

func TestTheMostSpecificEntryDecidesARoom(t *testing.T) {
	// What each entry allows names it.
	p, err := NewRoomPermissions([]RoomPermissions{
		{"*", []string{"presence"}},
		{"room:*", []string{"subscribe"}},
		{"room:one", []string{"*"}},
		{"room:*:chat", []string{"publish"}},
		{"*:two", []string{"create"}},
		{"a:b:*", []string{"metrics"}},
		{"a:*:c", []string{"history"}},
		{"a:*", nil},
		{"*:*:*:x", []string{"storage"}},
		{"Room:*", []string{"join"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for room, want := range map[string]Permission{
		"lobby":       PermPresence,
		"room":        PermPresence, // `room:*` has more parts than the room
		"room:one":    PermAll,
		"room:five":   PermSubscribe,
		"room:two":    PermSubscribe, // one literal part each: the earlier one
		"side:two":    PermCreate,
		"room:a:b":    PermSubscribe, // a last `*` is all further parts
		"room:a:chat": PermPublish,   // two literal parts before one
		"room:chat":   PermSubscribe,
		"a:b:c":       PermMetrics, // two literal parts each: the earlier ones
		"a:b:d":       PermMetrics,
		"a:x:c":       PermHistory,
		"1:2:3:x":     PermStorage,
		"1:2:3:x:5":   PermPresence,
		"Room:one":    PermJoin, // the case of a pattern is kept
		"room:":       PermSubscribe,
	} {
		for _, perm := range words {
			if got := p.Allows(room, perm); got != (want == PermAll || perm == want) {
				t.Errorf("room %q: Allows(%s) = %v, want the entry that allows %s", room, perm, got, want)
			}
		}
		if !p.Any(room) {
			t.Errorf("room %q: Any = false", room)
		}
	}
	if p.Any("a:zz:yy") {
		t.Error("an entry with an empty list must allow nothing")
	}
}

func TestWithoutAMatchingEntryNothingIsAllowed(t *testing.T) {
	p, err := NewRoomPermissions([]RoomPermissions{{"room:one", []string{"*"}}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Any("room:two") || p.Any("room") || p.Any("room:one:x") || (*Permissions)(nil).Any("room:one") {
		t.Error("a room without an entry allows something")
	}
}

func TestWrongPermissionsAreNamed(t *testing.T) {
	_, err := NewPermissions([]string{"presence", "presense"})
	if err == nil || !strings.Contains(err.Error(), `"presense" is no permission; want one of create,`) {
		t.Errorf("got %v", err)
	}
	for _, entries := range [][]RoomPermissions{
		{{"", []string{"*"}}},
		{{"a", []string{"*"}}, {"a", nil}},
		{{"a", []string{"Presence"}}},
	} {
		if _, err := NewRoomPermissions(entries); err == nil {
			t.Errorf("NewRoomPermissions(%v): no error", entries)
		}
	}
}

func TestAllowsDoesNotAllocate(t *testing.T) {
	p, err := NewRoomPermissions([]RoomPermissions{{"room:*:chat", []string{"*"}}, {"*", nil}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { p.Allows("room:x:chat", PermPresence) }); n != 0 {
		t.Errorf("%v allocations a call, want none", n)
	}
}
