package node

import (
	"maps"
	"testing"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	presence "presencesets"
)

// operations is what was counted, as "op result" → times.
func (s *still) operations() map[string]int {
	s.t.Helper()
	list := make(chan prometheus.Metric, 100)
	s.node.opts.Metrics.Operations.Collect(list)
	close(list)
	counted := map[string]int{}
	for m := range list {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			s.t.Fatal(err)
		}
		if n := int(d.GetCounter().GetValue()); n > 0 {
			counted[d.GetLabel()[0].GetValue()+" "+d.GetLabel()[1].GetValue()] = n
		}
	}
	return counted
}

// underWay leaves requests of p in every place in which one can wait: with the
// store, behind another one, and along with one that is with the store.
func (s *still) underWay(store *memStore, peer int) {
	s.ask(peer, "room:join", `"roomId":"r"`)
	s.ask(peer, "room:join", `"roomId":"q"`)
	store.hold = func(*presence.Op) bool { return true }
	var b []byte
	for _, text := range []string{
		`presence:join","body":{"roomId":"r"},"ackId":"1"}`,
		`presence:count","body":{"roomId":"r"},"ackId":"2"}`,
		`presence:get","body":{"roomId":"r"}}`,
		`presence:subscribe","body":{"roomId":"q","event":"join"},"ackId":"4"}`,
		`presence:subscribe","body":{"roomId":"q","event":"leave"}}`,
	} {
		b = append(b, masked(ws.OpText, `{"type":"ds:client:room:`+text)...)
	}
	s.put(peer, b)
	s.turn()
}

var countedUnderWay = map[string]int{
	"room_join ok": 2, "presence_join ok": 1, "presence_count unavailable": 1, "presence_get unavailable": 1, "presence_subscribe ok": 2,
}

func TestEveryRequestOfALostSocketIsCountedOnce(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	c, peer := s.open("1")
	s.underWay(store, peer)
	s.lose(c, endLost)
	store.release()
	s.turn()
	if got := s.operations(); !maps.Equal(got, countedUnderWay) {
		t.Errorf("counted are %v, want %v", got, countedUnderWay)
	}
}

func TestEveryRequestBeforeACloseFrameIsCountedOnce(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	_, peer := s.open("1")
	s.underWay(store, peer)
	s.put(peer, masked(ws.OpClose, "\x03\xe8"))
	s.turn()
	store.release()
	s.turn()
	if got := s.operations(); !maps.Equal(got, countedUnderWay) {
		t.Errorf("counted are %v, want %v", got, countedUnderWay)
	}
}

func TestRequestInDoubtIsCountedOnce(t *testing.T) {
	store := newMemStore()
	s := stillLoop(t, testOptions(t, store))
	c, peer := s.open("1")
	s.ask(peer, "room:join", `"roomId":"r"`)
	held := s.joinHeld(store, peer)
	held.Err, held.Unknown = presence.Errorf(presence.CodeUnavailable, "no answer"), true
	held.Done.OpDone(held)
	s.turn()
	s.lose(c, endLost)
	held.Err, held.Unknown = nil, false
	held.Done.OpDone(held)
	s.turn()
	want := map[string]int{"room_join ok": 1, "presence_join unavailable": 1}
	if got := s.operations(); !maps.Equal(got, want) {
		t.Errorf("counted are %v, want %v", got, want)
	}
}

func TestRequestThatIsRefusedInSilenceIsCounted(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	_, peer := s.open("1")
	s.put(peer, masked(ws.OpText, `{"type":"ds:client:room:join","body":{"roomId":7}}`))
	s.turn()
	want := map[string]int{"room_join invalid": 1}
	if got := s.operations(); !maps.Equal(got, want) {
		t.Errorf("counted are %v, want %v", got, want)
	}
}
