package e2e

import (
	"net/http"
	"strings"
	"testing"
)

const (
	lobby   = `{"roomId":"lobby"}`
	joined  = "localapp:lobby:$:presence:join"
	left    = "localapp:lobby:$:presence:leave"
	updated = "localapp:lobby:$:presence:update"
)

// observe connects to a node itself, past HAProxy, and subscribes the lobby.
func observe(t *testing.T, n *node, name string) *client {
	t.Helper()
	c := connect(t, n.client, name)
	c.ask("room:join", lobby)
	for _, event := range []string{"join", "update", "leave"} {
		c.ask("room:presence:subscribe", `{"roomId":"lobby","event":"`+event+`"}`)
	}
	return c
}

func TestAMembershipThroughHAProxyIsSeenOnBothNodes(t *testing.T) {
	w := start(t)
	observers := []*client{observe(t, w.n1, "watcher1"), observe(t, w.n2, "watcher2")}

	visitor := connect(t, w.edge, "visitor")
	visitor.ask("room:join", lobby)
	visitor.ask("room:presence:join", `{"roomId":"lobby","userData":{"seat":7}}`)
	visitor.ask("room:presence:update", `{"roomId":"lobby","userData":{"seat":8}}`)
	visitor.ask("room:presence:leave", lobby)
	for _, o := range observers {
		for _, want := range []struct{ event, data string }{{joined, `{"seat":7}`}, {updated, `{"seat":8}`}, {left, ""}} {
			if f := o.event(want.event); !strings.Contains(f.raw, want.data) || !strings.Contains(f.raw, `"clientId":"visitor"`) {
				t.Errorf("%s: %s is %s; want visitor with %s", o.name, want.event, f.raw, want.data)
			}
		}
	}

	// The client port's ordinary HTTP goes through as well.
	r, err := http.Get("http://" + w.edge + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("GET /healthz through HAProxy: %s", r.Status)
	}
}

func TestHAProxySpreadsClientsOverBothNodes(t *testing.T) {
	w := start(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		connect(t, w.edge, name)
	}
	for _, id := range []string{"n1", "n2"} {
		if s := w.server(t, id); s["scur"] != "2" {
			t.Errorf("%s has %s of 4 clients, want 2", id, s["scur"])
		}
	}
}

func TestANodeThatIsNotReadyGetsNoNewClientsAndKeepsItsOwn(t *testing.T) {
	w := start(t)
	before := []*client{connect(t, w.edge, "a"), connect(t, w.edge, "b")} // one on each node

	w.link.cut(t)
	await(t, w.n2.Process, func() bool { return w.n2.ready() == http.StatusServiceUnavailable })
	await(t, w.n2.Process, func() bool { return w.server(t, "n2")["status"] == "DOWN" })
	if s := w.server(t, "n2"); s["check_code"] != "503" {
		t.Errorf("n2 is down by code %q, want 503: %v", s["check_code"], s["last_chk"])
	}
	if s := w.server(t, "n2"); s["scur"] != "1" {
		t.Errorf("n2 has %s clients after it went down; its own one must stay", s["scur"])
	}
	for _, name := range []string{"c", "d", "e"} {
		c := connect(t, w.edge, name)
		c.ask("room:join", lobby) // n1 works as before
	}

	w.link.mend(t)
	await(t, w.n2.Process, func() bool { return w.server(t, "n2")["status"] == "UP" })
	for _, c := range before {
		c.ask("room:join", lobby) // the same sockets, on both nodes
	}
}
