package node

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	presence "presencesets"
	"presencesets/auth"
	"presencesets/protocol"
)

// From the first byte to an open websocket.
//
//	accepted ─bytes▶ head ─whole▶ upgrade? ─yes▶ authorising ─▶ open
//	                                  └─no──▶ handed to net/http (leaves the loop)
//
// The head is collected on the loop until its empty line; gobwas then parses
// it in one go, from memory, and writes its 101 into memory. Credentials are
// checked on the loop. The 101 goes out when the session is open in Redis, the
// first frame right behind it in the same segment; every refusal is an HTTP
// status before the upgrade (wire protocol 2.2), because a client that is
// accepted and then closed comes back for ever.

// handshake is what is kept of an upgrade until its session is open.
type handshake struct {
	answer []byte // the 101
	req    *request
	secret string // that is granted, and told once; "" none
	taken  int64  // incarnation of the newest socket that has the connection, 0: none is known
}

var errShuttingDown = presence.Errorf(presence.CodeUnavailable, "this node is shutting down")

var errNoAnswer = presence.Errorf(presence.CodeUnavailable, "the session could not be opened in time: the store does not answer; try again")

// head looks for a whole request head at the start of b.
func (l *loop) head(c *conn, b []byte) (used int) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxHead {
			l.m.handshakeFailure("head_too_big")
			l.answer(c, http.StatusRequestHeaderFieldsTooLarge, presence.Errorf(presence.CodeTooLarge,
				"the request head has more than %d bytes", maxHead).WithLimit(maxHead))
			return len(b)
		}
		return 0
	}
	head := b[:end+4]
	if len(head) > maxHead {
		l.m.handshakeFailure("head_too_big")
		l.answer(c, http.StatusRequestHeaderFieldsTooLarge, presence.Errorf(presence.CodeTooLarge,
			"the request head has %d bytes; the limit is %d", len(head), maxHead).WithLimit(maxHead))
		return len(b)
	}
	if !wantsWebsocket(head) {
		l.handOver(c, b)
		return len(b)
	}
	l.upgrade(c, head)
	return len(head)
}

// wantsWebsocket reports whether the head is a GET with an Upgrade header that
// names websocket. Anything else is for net/http, which knows all of HTTP.
func wantsWebsocket(head []byte) bool {
	if !bytes.HasPrefix(head, []byte("GET ")) {
		return false
	}
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(bytes.TrimSpace(name), []byte("upgrade")) {
			return bytes.EqualFold(bytes.TrimSpace(value), []byte("websocket"))
		}
	}
	return false
}

// memory is the reader and writer that gobwas's upgrader works on.
type memory struct {
	in  bytes.Reader
	out bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error)  { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error) { return m.out.Write(p) }

var errRefused = errors.New("refused")

// upgrade parses the head, checks who it is and asks for a session.
func (l *loop) upgrade(c *conn, head []byte) {
	var (
		refusal *presence.Error
		ids     identity
	)
	m := &l.memory
	m.in.Reset(head)
	m.out.Reset()
	u := ws.Upgrader{
		ReadBufferSize: maxHead, // gobwas refuses a line that its buffer does not hold
		OnRequest: func(uri []byte) error {
			ids, refusal = l.node.identify(string(uri))
			if refusal != nil {
				return errRefused
			}
			return nil
		},
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), "origin") && !l.node.originAllowed(string(value)) {
				refusal = presence.Errorf(presence.CodeForbidden, "origin %q is not allowed here", clip(string(value)))
				return errRefused
			}
			return nil
		},
	}
	if _, err := u.Upgrade(m); err != nil {
		if refusal != nil {
			l.refuse(c, refusal)
			return
		}
		l.m.handshakeFailure("bad_request")
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || m.out.Len() == 0 {
			l.answer(c, http.StatusBadRequest, presence.Errorf(presence.CodeInvalid, "malformed request head"))
			return
		}
		l.finish(c, bytes.Clone(m.out.Bytes()))
		return
	}
	if age, late := l.backlogged(); late {
		l.m.limit("backlog")
		l.refuse(c, presence.Errorf(presence.CodeUnavailable, "this node is %v behind with its broadcasts", age.Round(time.Second)))
		return
	}
	if l.node.refusing.Load() {
		l.refuse(c, errShuttingDown)
		return
	}

	req := l.newRequest(c)
	req.errand, req.epoch = errandOpen, l.epoch
	req.op.Kind = presence.OpOpen
	if ids.known {
		req.op.Kind = presence.OpResume
	}
	req.op.Secret = ids.secretHash
	c.secret = nil
	if ids.secretHash != "" {
		c.secret = &req.op.Secret
	}
	req.op.App = ids.key.App.ID
	req.op.Key = ids.key.Public
	req.op.Client = ids.client
	req.op.Conn = ids.conn
	req.op.Grace = l.node.grace(ids.key)
	c.key, c.id = ids.key, ids.conn
	c.client = strings.Clone(ids.client) // else it holds the whole URL in memory
	if ids.style == protocol.StyleText {
		c.flags |= flagText
	}
	l.setState(c, stateAuthorising)
	if c.in == nil {
		c.in = &inbuf{}
	}
	c.in.hand = &handshake{answer: bytes.Clone(m.out.Bytes()), req: req, secret: ids.granted}
	l.watch(c) // not read until it is answered
	l.wheel.take(&l.conns, c)
	l.opening = append(l.opening, patient{c.ref(), l.now.Add(authoriseMs * time.Millisecond)})
	l.node.opens.Add(1)
	if err := l.node.opts.Store.Submit(&req.op); err != nil {
		l.node.opens.Done()
		req.release()
		l.refuse(c, err)
	}
}

// expireOpens refuses the upgrades that have waited for the store for too long.
// A second of the wheel is too coarse for that: some would get half of their time.
func (l *loop) expireOpens() {
	for len(l.opening) > 0 {
		p := l.opening[0]
		c := l.conns.get(p.ref)
		waits := c != nil && c.state == stateAuthorising
		if waits && l.now.Before(p.until) {
			return
		}
		l.opening = l.opening[1:]
		if waits {
			func() {
				defer l.recovered(p.ref)
				l.refuse(c, errNoAnswer)
			}()
		}
	}
	l.opening = nil
}

// identity is what the query of an upgrade says, checked.
type identity struct {
	key    *auth.Key
	client string
	conn   presence.ConnID
	known  bool // the client brought conn: it may be resumed
	style  protocol.Style

	secretHash string // of the resume secret that it showed, or is granted; "" none
	granted    string // a new resume secret; "" none
}

// identify checks path and query of an upgrade (wire protocol 2.1, 2.2).
func (n *Node) identify(uri string) (id identity, err *presence.Error) {
	path, query, _ := strings.Cut(uri, "?")
	style, ok := protocol.StyleOfPath(path)
	if !ok {
		return id, presence.Errorf(presence.CodeNotFound, "no websocket at %q; connect to /core or /core/v1", clip(path)).WithField("path")
	}
	q, err := protocol.ParseQuery(query, n.opts.Limits.ClientID)
	if err != nil {
		return id, err
	}
	if q.APIKey == "" {
		if q.Token != "" {
			return id, presence.Errorf(presence.CodeUnauthorized, "auth tokens are not accepted by this version; connect with an apiKey").WithField("token")
		}
		return id, presence.Errorf(presence.CodeUnauthorized, "no credentials: connect with an apiKey").WithField("apiKey")
	}
	if id.key, err = n.opts.Keyring.Authenticate(q.APIKey); err != nil {
		return id, err
	}
	id.client = q.ClientID
	app, _ := protocol.ParseStyle(id.key.App.JoinAck) // checked when the key was read
	id.style = style.Or(app)
	if q.ConnectionID == "" {
		id.conn = presence.NewConnID()
		if q.HasFeature(protocol.FeatureResume) {
			id.granted = rand.Text()
			id.secretHash = hashSecret(id.granted)
		}
		return id, nil
	}
	owner, conn, _ := protocol.SplitConnectionID(q.ConnectionID) // ParseQuery has refused any other form
	if owner != id.key.App.ID {
		return id, presence.Errorf(presence.CodeForbidden, "connectionId %q belongs to another app", clip(q.ConnectionID)).WithField("connectionId")
	}
	id.conn, id.known = conn, true
	if q.ResumeSecret != "" {
		id.secretHash = hashSecret(q.ResumeSecret)
	}
	return id, nil
}

// hashSecret is what is kept of a resume secret.
func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// grace is how long memberships outlive a lost socket in the app of key.
func (n *Node) grace(key *auth.Key) time.Duration {
	if g := key.App.Grace; g > 0 {
		return g
	}
	return n.opts.Grace
}

func (n *Node) originAllowed(origin string) bool {
	for _, o := range n.opts.Origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	return len(n.opts.Origins) == 0
}

// opened is the store's answer to the session that c's upgrade asked for.
func (l *loop) opened(c *conn, req *request, unknown *presence.Error) {
	op := &req.op
	if unknown != nil {
		l.refuse(c, unknown)
		return
	}
	if op.Err != nil {
		l.refuse(c, op.Err)
		return
	}
	hand := c.in.hand
	c.in.hand = nil
	c.inc, c.epoch = op.NewInc, req.epoch
	if c.secret != nil {
		secret := op.Secret // the request is used again
		c.secret = &secret
	}
	if old, ok := l.byID[c.id]; ok {
		l.taken(l.conns.at(old), c.inc)
	}
	l.byID[c.id] = c.slot
	l.setState(c, stateOpen)
	if l.unsure(c) { // the sweep may have passed it while it was opened
		l.sweepAgain(l.now)
	}
	c.flags |= flagFresh
	c.lastSeen = l.second
	l.m.ConnectionsAccepted.Inc()

	l.scratch = protocol.AppendConnected(l.scratch[:0], &protocol.Connected{
		App: c.key.App.ID, Conn: c.id, Client: c.client, Node: l.node.opts.NodeID,
		GraceMs: op.Grace.Milliseconds(), Features: features(hand, c), ResumeSecret: hand.secret,
	})
	out := appendFrame(hand.answer, ws.OpText, l.scratch)
	l.stats.FramesOut++
	l.send(c, out, true)
	if c.state != stateOpen {
		return
	}
	l.watch(c)
	if c.state != stateOpen {
		return
	}
	if len(c.in.buf) > 0 {
		l.again(c)
	} else {
		l.dropIn(c)
	}
	l.refile(c)
	l.restore(c, op)
	if c.state == stateOpen && !l.drain.began.IsZero() { // it was not lined up with the others
		l.drain.busy = append(l.drain.busy, patient{c.ref(), l.now.Add(drainPatience)})
		l.drain.next = l.now
	}
	l.taken(c, hand.taken)
}

// features are the granted ones.
func features(hand *handshake, c *conn) []string {
	if hand.secret != "" || c.secret != nil {
		return []string{protocol.FeatureResume}
	}
	return nil
}

// refuse answers an upgrade with the status of err.
func (l *loop) refuse(c *conn, err *presence.Error) {
	l.m.handshakeFailure(string(err.Code))
	l.answer(c, err.Status, err)
}

// answer sends an HTTP error and lets the connection run out.
func (l *loop) answer(c *conn, status int, e *presence.Error) { l.finish(c, httpAnswer(status, e)) }

// httpAnswer is the whole of an HTTP answer that refuses.
func httpAnswer(status int, e *presence.Error) []byte {
	body := errorBody(status, e)
	b := append([]byte("HTTP/1.1 "), strconv.Itoa(status)+" "+http.StatusText(status)+"\r\n"+
		"Content-Type: application/json\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n"...)
	if e.Retry {
		b = append(b, "Retry-After: "+strconv.FormatInt(max(1, (e.RetryAfterMs+999)/1000), 10)+"\r\n"...)
	}
	b = append(b, "Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"...)
	return append(b, body...)
}

// errorBody is what every HTTP answer that refuses holds. status is the error's
// own but where HTTP has a better one, as 431 for a long head.
func errorBody(status int, e *presence.Error) []byte {
	shown := *e
	shown.Status = status
	return protocol.AppendHTTPError(nil, &shown)
}

// finish sends the last bytes of an HTTP answer and our end of stream, and
// reads on for a moment: a reset for unread bytes would eat the answer.
func (l *loop) finish(c *conn, answer []byte) {
	l.setState(c, stateDraining)
	l.send(c, answer, true)
	if c.state == stateFree {
		return
	}
	if c.out == nil {
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR) // ENOTCONN: the peer is gone already, the drain will see it
	}
	l.watch(c)
	l.refile(c)
}

// clip shortens what a client sent for an error text.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
