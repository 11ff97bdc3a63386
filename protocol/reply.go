package protocol

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"

	"presencesets"
)

// Every acknowledgement begins with this and the ackId.
const ackHead = `{"type":"` + nameAcknowledged + `","body":{"ackId":`

// appendAckHead appends an acknowledgement up to where the data follows.
func appendAckHead(dst, ackID []byte) []byte {
	dst = append(dst, ackHead...)
	dst = append(dst, ackID...)
	return append(dst, `,"data":`...)
}

// AppendAck appends an acknowledgement with data, which is JSON text; nil
// stands for null. ackID is [Request.AckID] and must not be nil: a request
// without one gets no acknowledgement.
func AppendAck(dst, ackID, data []byte) []byte {
	dst = appendAckHead(dst, ackID)
	dst = appendValue(dst, data)
	return append(dst, "}}"...)
}

// AppendAckRevision is [AppendAck] for an answer that is true at a revision of
// the room; 0 is the revision of an empty one.
func AppendAckRevision(dst, ackID, data []byte, rev presence.Revision) []byte {
	dst = appendAckHead(dst, ackID)
	dst = appendValue(dst, data)
	dst = append(dst, `,"revision":`...)
	dst = strconv.AppendInt(dst, int64(rev), 10)
	return append(dst, "}}"...)
}

// AppendAckText appends an acknowledgement whose data is the text that parts
// make when put together.
func AppendAckText(dst, ackID []byte, parts ...string) []byte {
	dst = appendAckHead(dst, ackID)
	dst = append(dst, '"')
	for _, part := range parts {
		dst = appendEscaped(dst, part)
	}
	return append(dst, `"}}`...)
}

// AppendAckRoom appends the acknowledgement of a room join that newer clients
// want ([StyleObject]); older ones want the text app:room, for which there is
// [AppendAckText].
func AppendAckRoom(dst, ackID []byte, app, room string) []byte {
	dst = appendAckHead(dst, ackID)
	dst = append(dst, `{"uuid":"`...)
	dst = appendRoomUUID(dst, app, room)
	dst = append(dst, `","nspRoomId":"`...)
	dst = appendNamespaced(dst, app, room)
	return append(dst, `","roomName":null,"visibility":"public","memberType":"member"}}}`...)
}

// AppendAckCreated appends the acknowledgement of a room create.
func AppendAckCreated(dst, ackID []byte, app, room string) []byte {
	dst = appendAckHead(dst, ackID)
	dst = append(dst, `{"id":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","uuid":"`...)
	dst = appendRoomUUID(dst, app, room)
	return append(dst, `","visibility":"public"}}}`...)
}

// AppendAckError appends an error acknowledgement. The public client shows
// name and message; code, retry, field, limit and retryAfterMs are for ours,
// the last three only where there is one.
func AppendAckError(dst, ackID []byte, e *presence.Error) []byte {
	dst = appendAckHead(dst, ackID)
	dst = append(dst, `null,"err":{"name":`...)
	dst = AppendString(dst, e.Name)
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, e.Message)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(e.Status), 10)
	dst = append(dst, `,"code":`...)
	dst = AppendString(dst, string(e.Code))
	dst = append(dst, `,"retry":`...)
	dst = strconv.AppendBool(dst, e.Retry)
	if e.Field != "" {
		dst = append(dst, `,"field":`...)
		dst = AppendString(dst, e.Field)
	}
	if e.Limit != 0 {
		dst = append(dst, `,"limit":`...)
		dst = strconv.AppendInt(dst, e.Limit, 10)
	}
	if e.RetryAfterMs != 0 {
		dst = append(dst, `,"retryAfterMs":`...)
		dst = strconv.AppendInt(dst, e.RetryAfterMs, 10)
	}
	return append(dst, "}}}"...)
}

// AppendHTTPError appends the body of an HTTP answer that refuses: what stands
// there before an upgrade and for calls that are out of scope.
func AppendHTTPError(dst []byte, e *presence.Error) []byte {
	dst = append(dst, `{"name":`...)
	dst = AppendString(dst, e.Name)
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, e.Message)
	dst = append(dst, `,"statusCode":`...)
	dst = strconv.AppendInt(dst, int64(e.Status), 10)
	return append(dst, '}')
}

// Connected is what the first frame on a socket tells.
type Connected struct {
	App      string
	Conn     presence.ConnID
	Client   string   // "" when the connection has none
	Node     string   // id of the node that holds the socket
	GraceMs  int64    // how long a lost socket keeps its memberships, milliseconds
	Features []string // those that were asked for and are granted

	// ResumeSecret must be shown to resume the connection; "" when the feature
	// was not asked for, or the client has one already.
	ResumeSecret string
}

// FeatureResume is the feature whose connections are resumed only with their
// secret.
const FeatureResume = "resume"

// AppendConnected appends the first frame.
func AppendConnected(dst []byte, c *Connected) []byte {
	dst = append(dst, `{"type":"`+nameConnected+`","body":{"uid":`...)
	if c.Client != "" {
		dst = AppendString(dst, c.Client)
		dst = append(dst, `,"clientId":`...)
		dst = AppendString(dst, c.Client)
	} else {
		dst = append(dst, '"')
		dst = appendConnection(dst, c.App, c.Conn)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"connectionId":"`...)
	dst = appendConnection(dst, c.App, c.Conn)
	dst = append(dst, `","node":`...)
	dst = AppendString(dst, c.Node)
	dst = append(dst, `,"graceMs":`...)
	dst = strconv.AppendInt(dst, c.GraceMs, 10)
	dst = append(dst, `,"features":[`...)
	for i, feature := range c.Features {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, feature)
	}
	dst = append(dst, ']')
	if c.ResumeSecret != "" {
		dst = append(dst, `,"resumeSecret":`...)
		dst = AppendString(dst, c.ResumeSecret)
	}
	return append(dst, "}}"...)
}

// appendValue appends JSON text, null when there is none.
func appendValue(dst, value []byte) []byte {
	if value == nil {
		return append(dst, "null"...)
	}
	return append(dst, value...)
}

// appendNamespaced appends app:room, without quotes. Neither can hold what a
// JSON string escapes: config lets no such app through, Decode no such room.
func appendNamespaced(dst []byte, app, room string) []byte {
	dst = append(dst, app...)
	dst = append(dst, ':')
	return append(dst, room...)
}

// appendConnection appends the public form of a connection id, without quotes.
func appendConnection(dst []byte, app string, conn presence.ConnID) []byte {
	dst = append(dst, app...)
	dst = append(dst, ':')
	return conn.AppendTo(dst)
}

// roomSpace is the namespace of the rooms' UUIDs, random and fixed for ever:
// a new one would give every room another UUID.
const roomSpace = "\x4c\x1d\x6b\x8a\x93\x0e\x4f\x57\xb2\x26\xe5\x71\x0a\xd8\x3f\x94"

// appendRoomUUID appends the room's UUID, the same on every node at all times:
// version 5 (RFC 9562, section 5.5) of app:room.
func appendRoomUUID(dst []byte, app, room string) []byte {
	var scratch [320]byte
	name := append(scratch[:0], roomSpace...)
	name = append(name, app...)
	name = append(name, ':')
	name = append(name, room...)
	sum := sha1.Sum(name)
	return appendUUID(dst, [16]byte(sum[:16]), 5)
}

// appendUUID appends 16 bytes as a UUID of the given version.
func appendUUID(dst []byte, b [16]byte, version byte) []byte {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	dst = hex.AppendEncode(dst, b[0:4])
	for _, part := range [...][]byte{b[4:6], b[6:8], b[8:10], b[10:16]} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}
