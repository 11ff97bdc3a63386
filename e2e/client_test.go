package e2e

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// client is one websocket client. Frames come through a channel, so that a
// test waits for what it expects and not for time to pass.
type client struct {
	t      *testing.T
	name   string
	write  func([]byte) error
	frames chan frame
	asked  int
}

// frame is what a client receives: an acknowledgement, an event, or the first
// frame of the node.
type frame struct {
	Type string `json:"type"`
	Body struct {
		AckID string          `json:"ackId"`
		Data  json.RawMessage `json:"data"`
		Err   *struct {
			Name    string `json:"name"`
			Message string `json:"message"`
		} `json:"err"`
		ConnectionID string `json:"connectionId"`
		ClientID     string `json:"clientId"`
	} `json:"body"`
	raw string
}

// patience is how long a test waits for what must come: an order more than it
// takes on a busy machine.
const patience = 20 * time.Second

// connect opens a websocket and waits for the node's first frame.
func connect(t *testing.T, addr, name string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, "ws://"+addr+"/core?apiKey="+apiKey+"&clientId="+name)
	if err != nil {
		t.Fatalf("%s connects to %s: %v", name, addr, err)
	}
	c := &client{
		t: t, name: name, frames: make(chan frame, 256),
		write: func(b []byte) error { return wsutil.WriteClientText(conn, b) },
	}
	stream := struct {
		io.Reader
		io.Writer
	}{conn, conn}
	if early != nil { // frames that came behind the upgrade
		stream.Reader = early
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(c.frames)
		for {
			text, err := wsutil.ReadServerText(stream)
			if err != nil {
				return
			}
			f := frame{raw: string(text)}
			if err := json.Unmarshal(text, &f); err != nil {
				t.Errorf("%s got %q: %v", name, text, err)
			}
			c.frames <- f
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	first := c.next(func(f frame) bool { return true })
	if first.Type != "ds:server:connection:acknowledged" || first.Body.ClientID != name {
		t.Fatalf("%s: the first frame is %s", name, first.raw)
	}
	return c
}

// next returns the first frame that is wanted; what comes before it is passed over.
func (c *client) next(wanted func(frame) bool) frame {
	c.t.Helper()
	late := time.After(patience)
	for {
		select {
		case f, open := <-c.frames:
			if !open {
				c.t.Fatalf("%s: the socket ended", c.name)
			}
			if wanted(f) {
				return f
			}
		case <-late:
			c.t.Fatalf("%s: what was expected did not come within %v", c.name, patience)
		}
	}
}

// event returns the next frame of the given type.
func (c *client) event(kind string) frame {
	c.t.Helper()
	return c.next(func(f frame) bool { return f.Type == kind })
}

// ask sends a request and returns its acknowledgement, which must not be an error.
func (c *client) ask(kind, body string) frame {
	c.t.Helper()
	c.asked++
	id := c.name + "-" + strconv.Itoa(c.asked)
	if err := c.write([]byte(`{"type":"ds:client:` + kind + `","body":` + body + `,"ackId":"` + id + `"}`)); err != nil {
		c.t.Fatalf("%s sends %s: %v", c.name, kind, err)
	}
	ack := c.next(func(f frame) bool { return f.Body.AckID == id })
	if ack.Body.Err != nil {
		c.t.Fatalf("%s: %s is refused: %s: %s", c.name, kind, ack.Body.Err.Name, ack.Body.Err.Message)
	}
	return ack
}
