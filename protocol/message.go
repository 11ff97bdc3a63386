package protocol

import (
	"bytes"
	"strconv"

	"presencesets"
)

// Message is what a publish sends. Its JSON is the acknowledgement's data, the
// body of the event, and what travels through Redis between the nodes.
type Message struct {
	ID          string // a UUID, 36 characters
	Event       []byte // the event's name, text
	Data        []byte // JSON text
	Client      []byte // JSON string of the sender's clientId; nil: it has none
	App         string
	Conn        presence.ConnID
	HasConn     bool  // false: published over HTTP
	TimestampMs int64 // Unix milliseconds
}

// The message's JSON. id and event come first and in this order, so that
// [SplitMessage] finds them without parsing the rest:
//
//	{"id":"<36 characters>","event":"<name>","body":<data>,"sender":{…},"timestamp":<ms>}
const (
	messageHead  = `{"id":"`
	messageEvent = `","event":`
	messageBody  = `,"body":`
	uuidLen      = 36
)

// AppendMessage appends m as JSON.
func AppendMessage(dst []byte, m *Message) []byte {
	dst = append(dst, messageHead...)
	dst = append(dst, m.ID...)
	dst = append(dst, messageEvent...)
	dst = AppendString(dst, m.Event)
	dst = append(dst, messageBody...)
	dst = appendValue(dst, m.Data)
	dst = append(dst, `,"sender":{"clientId":`...)
	dst = appendValue(dst, m.Client)
	dst = append(dst, `,"connectionId":`...)
	if m.HasConn {
		dst = append(dst, '"')
		dst = appendConnection(dst, m.App, m.Conn)
		dst = append(dst, '"')
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `},"timestamp":`...)
	dst = strconv.AppendInt(dst, m.TimestampMs, 10)
	return append(dst, '}')
}

// SplitMessage finds the id (text) and the event's name (JSON string, quotes
// included) of what [AppendMessage] wrote; ok is false for anything else. It
// does not look at what follows them.
func SplitMessage(payload []byte) (id, eventJSON []byte, ok bool) {
	rest, ok := bytes.CutPrefix(payload, []byte(messageHead))
	if !ok || len(rest) < uuidLen {
		return nil, nil, false
	}
	id, rest = rest[:uuidLen], rest[uuidLen:]
	rest, ok = bytes.CutPrefix(rest, []byte(messageEvent))
	if !ok || len(rest) == 0 || rest[0] != '"' {
		return nil, nil, false
	}
	end, _ := stringEnd(rest, 0)
	if end > len(rest) || !bytes.HasPrefix(rest[end:], []byte(messageBody)) {
		return nil, nil, false
	}
	return id, rest[:end], true
}

// AppendMessageEvent appends the frame that brings a message to a connection:
// under the name of its event, or, with all, under the name that stands for
// every event of the room. eventJSON is that of [SplitMessage].
func AppendMessageEvent(dst []byte, app, room string, eventJSON []byte, all bool, payload []byte) []byte {
	dst = append(dst, `{"type":"`...)
	dst = appendNamespaced(dst, app, room)
	dst = append(dst, MessageInfix...)
	if all {
		dst = append(dst, EventAll+`"`...)
	} else {
		dst = append(dst, eventJSON[1:]...) // its closing quote is the type's
	}
	dst = append(dst, `,"body":`...)
	dst = append(dst, payload...)
	return append(dst, '}')
}

// MessageID makes the id of a message out of 16 random bytes: a UUID of
// version 4 (RFC 9562, section 5.4).
func MessageID(random [16]byte) string {
	return string(appendUUID(make([]byte, 0, uuidLen), random, 4))
}
