package presence_test

import (
	"strings"
	"testing"

	"presencesets"
)

func TestConnectionIDsAreTwentyLowerCaseHexDigits(t *testing.T) {
	const text = "3f9ac1b2d3e4f5a6b7c8"
	id, ok := presence.ParseConnID(text)
	if !ok || id.String() != text || string(id.AppendTo([]byte("app:"))) != "app:"+text || id.Shard() != 0x3f {
		t.Errorf("ParseConnID(%s): %v, %t, shard %d", text, id, ok, id.Shard())
	}
	for _, bad := range []string{"", text[1:], text + "0", strings.ToUpper(text), "3f9ac1b2d3e4f5a6b7cg", "3f9ac1b2d3e4f5a6b7c ", "Zk3xQ0r9bWvA", strings.Repeat("é", 10)} {
		if id, ok := presence.ParseConnID(bad); ok {
			t.Errorf("ParseConnID(%q): %v", bad, id)
		}
	}
	seen := map[presence.ConnID]bool{}
	for range 1000 {
		id := presence.NewConnID()
		if back, ok := presence.ParseConnID(id.String()); !ok || back != id || seen[id] {
			t.Fatalf("NewConnID: %v, read back as %v, %t; seen before: %t", id, back, ok, seen[id])
		}
		seen[id] = true
	}
}

func TestKindsHaveWordsThatCanBeReadBack(t *testing.T) {
	for _, kind := range []presence.Kind{presence.KindJoin, presence.KindUpdate, presence.KindLeave, presence.KindMark} {
		if got := presence.ParseKind(kind.String()); got != kind {
			t.Errorf("ParseKind(%s): %d, want %d", kind, got, kind)
		}
	}
	for _, word := range []string{"", "unknown", "JOIN", "joined"} {
		if got := presence.ParseKind(word); got != 0 {
			t.Errorf("ParseKind(%q): %d, want 0", word, got)
		}
	}
	if got := presence.Kind(0).String(); got != "unknown" {
		t.Errorf("the zero kind is called %q", got)
	}
}

func TestReasonsAreOneClosedSet(t *testing.T) {
	want := "left room_left closed timeout node_lost kicked expired unknown"
	var got []string
	for _, reason := range presence.Reasons() {
		got = append(got, string(reason))
	}
	if strings.Join(got, " ") != want {
		t.Errorf("the reasons are %v; want %s", got, want)
	}
}

func TestOperationsHaveTheWordsOfTheMetrics(t *testing.T) {
	seen := map[string]presence.OpKind{}
	for kind := presence.OpOpen; kind <= presence.OpWatchMessages; kind++ {
		word := kind.String()
		if word == "unknown" || seen[word] != 0 {
			t.Errorf("operation %d is called %q, as is %d", kind, word, seen[word])
		}
		seen[word] = kind
	}
	if got := presence.OpKind(0).String(); got != "unknown" {
		t.Errorf("the zero operation is called %q", got)
	}
}
