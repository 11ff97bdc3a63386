package bench

import (
	"bytes"
	"fmt"
	"strconv"
)

// ackID stands in every request: the node only gives it back.
const ackID = "1720865608450k3j9x0a2b"

// request builds the client frame of one request, as the SDK would send it.
// body is the inside of its object.
func request(kind, body string) []byte {
	return masked(opText, []byte(`{"type":"ds:client:`+kind+`","body":{`+body+`},"ackId":"`+ackID+`"}`))
}

// room returns the body field of the room that connection i is in, when ten
// connections share one.
func room(i int) string { return `"roomId":"bench:` + strconv.Itoa(i/10) + `"` }

// position is what the members send: a vehicle of the fleet example.
const position = `{"vehicle":"bus-42","lat":52.516275,"lng":13.377704,"speed":31.5}`

// isAnswer tells acknowledgements from events.
func isAnswer(payload []byte) bool {
	return bytes.HasPrefix(payload, []byte(`{"type":"ds:server:message:ack`))
}

// each sends one request on each of the connections and waits for the answers,
// at most outstanding of them at a time. An error in an answer ends it. Events
// that come meanwhile are left alone.
func (f *fleet) each(n int, build func(i int) []byte) error {
	frames := make([][]byte, n) // built before, so that the sending is all there is to do
	for i := range frames {
		frames[i] = build(i)
	}
	answered, sent := 0, 0
	f.onFrame = func(i int, payload []byte) {
		if !isAnswer(payload) {
			return
		}
		if bytes.Contains(payload, []byte(`"err":{`)) {
			f.fail(i, fmt.Errorf("refused: %s", payload))
			return
		}
		answered++
	}
	return f.until(func() bool {
		for sent < n && sent-answered < outstanding && f.failure == nil {
			f.send(sent, frames[sent])
			sent++
		}
		return answered == n
	})
}

// ask sends one request on connection i and returns the payload of the first
// frame that pick takes.
func (f *fleet) ask(i int, frame []byte, pick func(payload []byte) bool) ([]byte, error) {
	var got []byte
	f.onFrame = func(_ int, payload []byte) {
		if got == nil && pick(payload) {
			got = bytes.Clone(payload)
		}
	}
	f.send(i, frame)
	if err := f.until(func() bool { return got != nil }); err != nil {
		return nil, err
	}
	if bytes.Contains(got, []byte(`"err":{`)) {
		return nil, fmt.Errorf("refused: %s", got)
	}
	return got, nil
}
