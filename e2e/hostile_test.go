package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Clients that mean harm, and neighbours that must not notice.

// descriptors is how many the node has open.
func (n *node) descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/" + strconv.Itoa(n.PID()) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// resident is the node's memory in bytes.
func (n *node) resident(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(n.PID()) + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestTenThousandDroppedHandshakesLeaveNothingInTheProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("this system has no /proc")
	}
	p := startPair(t, unlimited...)
	neighbour := enter(t, p.n1, "eve")
	neighbour.watch("r")
	head := upgradeRequest(credentials("dropped"))
	drop := func(count int) {
		for i := range count {
			c, err := net.DialTimeout("tcp", p.n1.client, patience)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, head[:rand.IntN(len(head)+1)]); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				if err := c.(*net.TCPConn).SetLinger(0); err != nil { // by reset
					t.Fatal(err)
				}
			}
			c.Close()
		}
	}
	// The node may open a few more connections to Redis while it is busy.
	fds, keys := p.n1.descriptors(t)+8, p.size(t)
	settled := func() {
		t.Helper()
		eventually(t, "descriptors and keys are as before", func() bool { return p.n1.descriptors(t) <= fds && p.size(t) == keys })
	}
	drop(1_000) // buffers that the node keeps are there from now on
	settled()
	before := p.n1.resident(t)
	drop(10_000)
	settled()
	after := p.n1.resident(t)
	t.Logf("%d descriptors; resident %d KiB before, %d KiB after", p.n1.descriptors(t), before>>10, after>>10)
	if grown := after - before; grown > 20<<20 { // 2 KiB for each would be as much
		t.Errorf("the node grew by %d KiB", grown>>10)
	}
	neighbour.silent()
}

func TestSlowHeadsAreEndedAndOthersAreServed(t *testing.T) {
	p := startPair(t, "PRESENCE_EDGE_HANDSHAKE_TIMEOUT=1s")
	neighbour := enter(t, p.n1, "eve")
	var slow []net.Conn
	head := upgradeRequest(credentials("slow"))
	for i := range 300 {
		c := dial(t, p.n1)
		if _, err := io.WriteString(c, head[:i%len(head)]); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	neighbour.silent()
	enter(t, p.n1, "bob")
	for _, c := range slow {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a head that never ends is waited for")
		}
	}
	neighbour.silent()
}

// behind writes the upgrade and requests without reading anything.
func behind(t *testing.T, n *node, name string, requests ...string) net.Conn {
	t.Helper()
	c := dial(t, n)
	all := []byte(upgradeRequest(credentials(name)))
	for _, r := range requests {
		all = append(all, masked(ws.OpText, r)...)
	}
	if _, err := c.Write(all); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOneWhoNeverReadsIsCutAndTheRoomGoesOn(t *testing.T) {
	p := startPair(t, unlimited...)
	eve, bob := enter(t, p.n2, "eve"), enter(t, p.n2, "bob")
	for _, c := range []*peer{eve, bob} {
		c.watch("r")
	}
	eve.acked("room:subscription:bind", `"roomId":"r","event":"m"`, `"localapp:r::m"`)
	behind(t, p.n1, "deaf",
		`{"type":"ds:client:room:join","body":{"roomId":"r"}}`,
		`{"type":"ds:client:room:subscription:bind","body":{"roomId":"r","event":"m"}}`,
		`{"type":"ds:client:room:presence:join","body":{"roomId":"r"}}`)
	deaf := &peer{t: t, name: "deaf"}
	for _, c := range []*peer{eve, bob} {
		got := c.read()
		if !strings.Contains(got, `"event":"join"`) || !strings.Contains(got, `"clientId":"deaf"`) {
			t.Fatalf("got %s, want deaf to join", got)
		}
		var e event
		if err := json.Unmarshal([]byte(got), &e); err != nil {
			t.Fatal(err)
		}
		deaf.id = e.Body.ID
	}
	fill := strings.Repeat("x", 30<<10)
	sent := 0
	for p.state(deaf) == "live" {
		if sent == 2_000 {
			t.Fatal("60 MB were kept for one who never reads")
		}
		bob.acks.Add(1)
		bob.send(`{"type":"ds:client:publish","body":{"roomId":"r","event":"m","data":"` + strconv.Itoa(sent) + " " + fill + `"},"ackId":"p"}`)
		sent++
		for acked := false; !acked; {
			got := bob.read()
			acked = strings.Contains(got, `"ackId":"p"`)
		}
	}
	t.Logf("cut after %d messages of 30 KiB", sent)
	for next, left := 0, false; next < sent || !left; {
		got := eve.read()
		switch {
		case strings.Contains(got, `"event":"leave"`):
			left = true
			if !strings.Contains(got, `"reason":"timeout"`) {
				t.Errorf("got %s, want the reason timeout", got)
			}
		case strings.Contains(got, `"body":"`+strconv.Itoa(next)+" x"):
			next++
		default:
			t.Fatalf("got %.300s, want message %d", got, next)
		}
	}
}

func TestAFloodIsHeldBackAndNeighboursAreServed(t *testing.T) {
	p := startPair(t) // the limits that are there by default
	eve := enter(t, p.n1, "eve")
	flood := behind(t, p.n1, "flood")
	ask := bytes.Repeat(masked(ws.OpText, `{"type":"ds:client:room:presence:count","body":{"roomId":"r"},"ackId":"`+strings.Repeat("x", 500)+`"}`), 100)
	if err := flood.SetWriteDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for {
		n, err := flood.Write(ask)
		sent += n
		if err != nil {
			break // it is not read any more, or was cut
		}
		if sent > 200<<20 {
			t.Fatal("200 MB of requests were read from one who takes no answer")
		}
		if n := sent / len(ask); n%50 == 0 {
			eve.silent()
		}
	}
	t.Logf("%d KiB of requests were taken", sent>>10)
	eve.silent()

	// One that does read is told, and keeps its socket.
	loud := enter(t, p.n1, "loud")
	const asks = 1_000
	var all []byte
	for range asks {
		text, _ := loud.request("room:presence:count", `"roomId":"r"`)
		all = append(all, masked(ws.OpText, text)...)
	}
	loud.write(all)
	limited := 0
	for range asks {
		if got := loud.read(); strings.Contains(got, "RateLimitError") {
			limited++
		}
	}
	if limited == 0 || limited > asks-300 {
		t.Errorf("%d of %d requests were refused; 300 in 5 s are free", limited, asks)
	}
	loud.acked("room:leave", `"roomId":"r"`, `"localapp:r"`)
}

func TestSubscribingAThousandTimesLosesAndRepeatsNothing(t *testing.T) {
	p := startPair(t, unlimited...)
	stop := make(chan struct{})
	done := make(chan struct{}, 3)
	for i := range 3 {
		c := enter(t, []*node{p.n1, p.n2}[i%2], "c"+strconv.Itoa(i))
		c.enterRoom("r")
		go func() {
			defer func() { done <- struct{}{} }()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				for _, kind := range []string{"join", "update", "leave"} {
					c.acks.Add(1)
					if _, err := c.conn.Write(masked(ws.OpText, `{"type":"ds:client:room:presence:`+kind+`","body":{"roomId":"r","userData":`+strconv.Itoa(n)+`},"ackId":"x"}`)); err != nil {
						t.Error(err)
						return
					}
					if _, open := <-c.frames; !open {
						t.Error("the socket ended")
						return
					}
				}
			}
		}()
	}
	c := enter(t, p.n2, "toggles")
	c.enterRoom("r")
	events := 0
	for range 333 { // three subscriptions each
		c.subscribeAndFold(&events)
	}
	close(stop)
	for range 3 {
		<-done
	}
	t.Logf("%d events", events)
}

// subscribeAndFold subscribes, lists twice and unsubscribes: the first list
// and the events up to the second one must make the second.
func (p *peer) subscribeAndFold(events *int) {
	p.t.Helper()
	const room = `"roomId":"r"`
	var all []byte
	var owed []string
	ask := func(kind, fields string) {
		text, id := p.request(kind, fields)
		all, owed = append(all, masked(ws.OpText, text)...), append(owed, id)
	}
	for _, e := range []string{"join", "update", "leave"} {
		ask("room:presence:subscribe", room+`,"event":"`+e+`"`)
	}
	p.write(all)
	var told []event
	// hear reads up to the acknowledgement of id and keeps the events before it.
	hear := func(id string) frame {
		p.t.Helper()
		for {
			got := p.read()
			f := decode[frame](p.t, got)
			if f.Type == "ds:server:message:acknowledged" {
				if f.Body.AckID != id || f.Body.Err != nil {
					p.t.Fatalf("got %s, want the acknowledgement of %s", got, id)
				}
				f.raw = got
				return f
			}
			told = append(told, decode[event](p.t, got))
		}
	}
	for _, id := range owed {
		hear(id)
	}
	list := func() (rev int64, members map[string]string) {
		text, id := p.request("room:presence:get", room)
		p.send(text)
		a := decode[struct {
			Body struct {
				Data []struct {
					ID   string
					Data int
				}
				Revision int64
			}
		}](p.t, hear(id).raw)
		members = map[string]string{}
		for _, m := range a.Body.Data {
			members[m.ID] = strconv.Itoa(m.Data)
		}
		return a.Body.Revision, members
	}
	from, members := list()
	for range rand.IntN(4) {
		list()
	}
	to, want := list()
	reached := func() int64 {
		if len(told) == 0 {
			return 0
		}
		return told[len(told)-1].Body.Revision
	}
	if len(want) > 0 { // an empty room has no revision
		for to > from && reached() < to || from == 0 && reached() < to {
			told = append(told, decode[event](p.t, p.read()))
		}
	} else {
		for !maps.Equal(members, want) && !emptyAfter(members, told, from) {
			told = append(told, decode[event](p.t, p.read()))
		}
	}
	text, id := p.request("room:presence:unsubscribe:all", room)
	kept := len(told)
	p.send(text)
	hear(id)
	for i, e := range told {
		if i > 0 && e.Body.Revision <= told[i-1].Body.Revision {
			p.t.Errorf("revision %d came after %d", e.Body.Revision, told[i-1].Body.Revision)
		}
	}
	*events += len(told)
	if len(want) > 0 {
		got := fold(members, told[:kept], from, to)
		if !maps.Equal(got, want) {
			p.t.Errorf("the list at %d and the events make %v; the list at %d is %v; events %v", from, got, to, want, revisions(told))
		}
	}
	p.silent() // nothing comes after the acknowledgement of unsubscribe
}

func decode[T any](t testing.TB, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// fold applies the events above from and up to `to`.
func fold(members map[string]string, told []event, from, to int64) map[string]string {
	members = maps.Clone(members)
	for _, e := range told {
		switch b := &e.Body; {
		case b.Revision <= from || b.Revision > to:
		case b.Event == "leave":
			delete(members, b.ID)
		default:
			members[b.ID] = string(b.Data)
		}
	}
	return members
}

func emptyAfter(members map[string]string, told []event, from int64) bool {
	return len(fold(members, told, from, 1<<62)) == 0
}

func revisions(told []event) (list []int64) {
	for _, e := range told {
		list = append(list, e.Body.Revision)
	}
	return list
}

func TestAConnectionInAHundredRoomsAndNoMore(t *testing.T) {
	p := startPair(t, unlimited...)
	c, twin := enter(t, p.n1, "bob"), enter(t, p.n2, "bob")
	keys := p.size(t)
	watcher := watching(t, p.n2, "eve", "a:99")
	for i := range 100 {
		room := "a:" + strconv.Itoa(i)
		c.enterRoom(room)
		c.acked("room:presence:join", `"roomId":"`+room+`"`, `"localapp:`+room+`:$:presence:join"`)
	}
	if r := c.refused("room:join", `"roomId":"a:100"`, "LimitError", 409, "limit"); r.Limit != 100 {
		t.Errorf("got %+v, want the limit 100", r)
	}
	// The same client on another connection is another member.
	twin.enterRoom("a:99")
	twin.acked("room:presence:join", `"roomId":"a:99"`, `"localapp:a:99:$:presence:join"`)
	watcher.takeUntil("both are there", func() bool { return len(watcher.known) == 2 })
	if got, _ := watcher.ask("room:presence:count", `"roomId":"a:99"`); !strings.Contains(got, `"data":2,`) {
		t.Errorf("count of two connections of one client: %s", got)
	}
	c.bye()
	watcher.takeUntil("one has left", func() bool { return len(watcher.known) == 1 })
	twin.bye()
	watcher.takeUntil("both have left", func() bool { return len(watcher.known) == 0 })
	watcher.bye()
	eventually(t, "nothing is left of them", func() bool { return p.size(t) <= keys-2 || p.size(t) == 0 })
	for i := range 100 {
		if m := p.members(t, fmt.Sprintf("a:%d", i)); len(m) != 0 {
			t.Errorf("room %d still lists %v", i, slices.Collect(maps.Keys(m)))
		}
	}
}
