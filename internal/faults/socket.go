package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gobwas/ws"
)

// frame is what a client receives: an acknowledgement, an event, or the first
// frame of the node.
type frame struct {
	Type string `json:"type"`
	Body struct {
		// of an acknowledgement
		AckID string `json:"ackId"`
		Err   *struct {
			Name, Message, Code string
			Retry               bool
		} `json:"err"`

		Data     json.RawMessage `json:"data"`
		Revision int64           `json:"revision"`

		// of an event
		Event, ID, Reason, Timestamp string

		// of the first frame
		ConnectionID string `json:"connectionId"`
		Node         string `json:"node"`
	} `json:"body"`
}

// first is the type of a node's first frame, ackType that of an acknowledgement.
const (
	firstType = "ds:server:connection:acknowledged"
	ackType   = "ds:server:message:acknowledged"
)

// socket is one websocket. A goroutine reads it and posts what came; all else
// is the stage's.
type socket struct {
	st    *stage
	conn  *net.TCPConn
	heard func(at time.Time, frames []frame) // on the stage
	over  func(code ws.StatusCode, err error)
	quiet bool // we have ended it, or want to hear no more of it
}

// dialLimit bounds handshakes under way, so that a herd of ours is not what is measured.
var dialLimit = make(chan struct{}, 128)

// handshakeTime is how long a connect, an upgrade and its answer may take.
const handshakeTime = 10 * time.Second

// refused is an upgrade that was answered with a status.
type refused struct {
	status int
	body   string
}

func (r *refused) Error() string { return fmt.Sprintf("refused with %d: %s", r.status, r.body) }

// dial opens a websocket and tells got on the stage. The socket reads only
// after listen.
func (s *stage) dial(addr, query string, got func(*socket, error)) {
	go func() {
		dialLimit <- struct{}{}
		k, r, err := s.upgrade(addr, query)
		<-dialLimit
		s.post(func() {
			got(k, err)
			if err == nil {
				go k.read(r)
			}
		})
	}()
}

func (s *stage) upgrade(addr, query string) (*socket, *bufio.Reader, error) {
	conn, err := net.DialTimeout("tcp", addr, handshakeTime)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*socket, *bufio.Reader, error) {
		conn.Close()
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(handshakeTime)) // an error shows at the write
	_, err = io.WriteString(conn, "GET /core?"+query+" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		return fail(err)
	}
	r := bufio.NewReaderSize(conn, 2<<10)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return fail(fmt.Errorf("upgrade: %w", err))
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return fail(&refused{res.StatusCode, string(body)})
	}
	_ = conn.SetDeadline(time.Time{})
	return &socket{st: s, conn: conn.(*net.TCPConn)}, r, nil
}

// read posts what comes until the socket ends.
func (k *socket) read(r *bufio.Reader) {
	var batch []frame
	flush := func() {
		if frames, at := batch, time.Now(); len(frames) > 0 {
			k.st.post(func() {
				if !k.quiet {
					k.heard(at, frames)
				}
			})
		}
		batch = nil
	}
	var code ws.StatusCode
	err := func() error {
		for {
			if r.Buffered() == 0 || len(batch) == 256 {
				flush()
			}
			h, err := ws.ReadHeader(r)
			if err != nil {
				return err
			}
			payload := make([]byte, h.Length) // of our own node
			if _, err := io.ReadFull(r, payload); err != nil {
				return err
			}
			switch h.OpCode {
			case ws.OpText:
				var f frame
				if err := json.Unmarshal(payload, &f); err != nil {
					return fmt.Errorf("not JSON: %w: %.200s", err, payload)
				}
				batch = append(batch, f)
			case ws.OpPing:
				k.st.post(func() {
					if !k.quiet {
						k.write(masked(ws.OpPong, payload))
					}
				})
			case ws.OpClose:
				code, _ = ws.ParseCloseFrameData(payload)
				return errors.New("closed by the node")
			}
		}
	}()
	flush()
	k.st.post(func() {
		k.conn.Close()
		if !k.quiet {
			k.quiet = true
			k.over(code, err)
		}
	})
}

// write sends bytes. It may fail: the reader will tell.
func (k *socket) write(b []byte) {
	_ = k.conn.SetWriteDeadline(time.Now().Add(time.Second)) // a stopped node must not stop the stage
	_, _ = k.conn.Write(b)
}

// close ends the socket in one of the ways in which sockets end.
func (k *socket) close(how ending) {
	k.quiet = true
	switch how {
	case byFrame: // and the node ends it, which the reader sees
		k.write(masked(ws.OpClose, nil))
		k.st.after(handshakeTime, func() { k.conn.Close() })
		return
	case byReset:
		_ = k.conn.SetLinger(0) // an error: it is closed already
	}
	_ = k.conn.Close()
}

// abort resets the socket as the network would: what our side of TCP has taken
// is read and heard first, for the node cannot know that it was not.
func (k *socket) abort() {
	raw, err := k.conn.SyscallConn()
	if err != nil {
		return // it has ended
	}
	_ = k.conn.SetLinger(0) // an error: it is closed already
	for range 1000 {
		waiting := 0
		_ = raw.Control(func(fd uintptr) { waiting = unread(int(fd)) })
		if waiting == 0 {
			break
		}
		time.Sleep(50 * time.Microsecond) // for the reader, whose goroutine it is
	}
	k.conn.Close()
}

// ending is how a client ends its socket.
type ending uint8

const (
	byFrame ending = iota // disconnect()
	byEnd                 // the process is gone: FIN, no frame
	byReset               // RST
)

func masked(op ws.OpCode, payload []byte) []byte {
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, true, payload))); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}
