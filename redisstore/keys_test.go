package redisstore

import (
	"testing"

	presence "presencesets"
)

func TestKeysAreThoseOfTheDesign(t *testing.T) {
	k := keys{prefix: "presence"}
	conn, ok := presence.ParseConnID("3f9ac1b2d3e4f5a6b7c8")
	if !ok {
		t.Fatal("a good connection id does not parse")
	}
	for _, tc := range []struct{ got, want string }{
		{k.members("app1", "lobby"), "presence:{app1:lobby}:members"},
		{k.feed("app1", "a:b"), "presence:{app1:a:b}:feed"},
		{k.messages("app1", "lobby"), "presence:{app1:lobby}:messages"},
		{k.session(conn), "presence:{c3f}:session:3f9ac1b2d3e4f5a6b7c8"},
		{k.grace(conn), "presence:{c3f}:grace:3f9ac1b2d3e4f5a6b7c8"},
		{k.node(0x3f, "n1.5"), "presence:{c3f}:node:n1.5"},
		{k.due(0), "presence:{c00}:due"},
		{k.due(255), "presence:{cff}:due"},
		{k.ctl(0x0a, "n1.5"), "presence:{c0a}:ctl:n1.5"},
		{k.lease("n1.5"), "presence:{nodes}:lease:n1.5"},
		{k.registry(), "presence:{nodes}:registry"},
		{k.nodesDue(), "presence:{nodes}:due"},
		{k.reaping(), "presence:{nodes}:reaping"},
		{k.epochs(), "presence:{nodes}:epochs"},
		{k.schema(), "presence:{nodes}:schema"},
		{roomField("app1", "a:b"), "room:app1:a:b"},
	} {
		if tc.got != tc.want {
			t.Errorf("key: got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestRoomIsCutOutOfItsField(t *testing.T) {
	for _, room := range []string{"lobby", "a:b", ":", "members", "ümläut 🙂"} {
		if app, got, ok := parseRoomField(roomField("app1", room)); !ok || app != "app1" || got != room {
			t.Errorf("room of the field of %q: got %q, %q, %v", room, app, got, ok)
		}
	}
	if _, _, ok := parseRoomField("state"); ok {
		t.Error("the field state lists a room")
	}
}
