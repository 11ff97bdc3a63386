package protocol

import (
	"bytes"
	"errors"
	"math"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"presencesets"
)

// Limits bounds what a request may hold; 0 means no bound. They are the
// settings limits.message, .data, .depth, .room_name and .event_name.
type Limits struct {
	Message   int // bytes of the whole message
	Data      int // bytes of a presence request's userData, compacted
	Depth     int // levels of nesting, the message's own object being the first
	RoomName  int // bytes of a room id
	EventName int // bytes of an event name
}

// Request is what a client asks for. Its slices point into the message or into
// the decoder's scratch memory and are valid until the next Decode: a handler
// copies what it keeps.
type Request struct {
	Type  Type
	AckID []byte // JSON string as it came, quotes included; nil: no acknowledgement wanted
	Room  []byte // text of roomId; nil when absent
	Event []byte // text of event; nil when absent
	Data  []byte // userData, or data of a publish: JSON without white space between tokens; nil when absent, `null` is a value
	Limit int    // of presence:get; -1 when absent

	Visibility []byte // of room:create: text; nil when absent
	Password   bool   // a password or an accessToken is there

	// Malformed is set with an error that is not about a field's content: the
	// message is no JSON or has no text `type`. Without an AckID there is
	// nobody to tell, and a socket on which that happens often is closed.
	Malformed bool
}

// The fields that are read. They are also the words of [presence.Error.Field].
const (
	fieldType        = "type"
	fieldAckID       = "ackId"
	fieldBody        = "body"
	fieldRoom        = "roomId"
	fieldEvent       = "event"
	fieldUserData    = "userData"
	fieldData        = "data"
	fieldLimit       = "limit"
	fieldVisibility  = "visibility"
	fieldPassword    = "password"
	fieldAccessToken = "accessToken"
)

// fieldOf returns the field of ours that a path of names leads to, "" for none.
func fieldOf(outer, inner []byte) string {
	switch string(outer) {
	case fieldType:
		return fieldType
	case fieldAckID:
		return fieldAckID
	case fieldBody:
		switch field := string(inner); field {
		case fieldRoom, fieldEvent, fieldUserData, fieldData, fieldLimit,
			fieldVisibility, fieldPassword, fieldAccessToken:
			return field
		}
		return fieldBody
	}
	return ""
}

// raw holds the values of a message as they came: JSON text, nil when absent.
// Which of them count is known only when the type is, and that may come last.
type raw struct {
	typ, ackID, body                               []byte
	room, event, userData, data, limit, visibility []byte
	userDataSpaced, dataSpaced                     bool // white space between its tokens
	password                                       bool // a password or accessToken that is not null
}

// Decoder turns messages into requests. It reuses its memory and belongs to
// one goroutine: an event loop has one.
type Decoder struct {
	limits Limits
	json   jsontext.Decoder
	source bytes.Buffer // what json reads: the message itself, not a copy
	walk   walker
	raw    raw

	// Scratch of the last request.
	typ, room, event, visibility, data []byte
}

// NewDecoder returns a decoder that keeps to limits.
func NewDecoder(limits Limits) *Decoder { return &Decoder{limits: limits} }

// Decode reads one text message into r, which it first clears. It does not
// change msg and does not allocate for a request without an error.
//
// The error is a ValidationError with the field at fault, or a
// PayloadTooLargeError with the limit. r.AckID is set whenever it can be read,
// also with an error, and r.Type when it was read before the error.
func (d *Decoder) Decode(msg []byte, r *Request) *presence.Error {
	*r = Request{Limit: -1}
	if d.limits.Message > 0 && len(msg) > d.limits.Message {
		r.AckID = skim(msg, math.MaxInt).ackID
		return tooLarge("the message", len(msg), d.limits.Message)
	}
	// Looked at before anything recurses. Few messages have brackets enough to
	// need more than this count.
	if d.limits.Depth > 0 && bytes.Count(msg, []byte("{"))+bytes.Count(msg, []byte("[")) > d.limits.Depth {
		if s := skim(msg, d.limits.Depth); s.tooDeep {
			r.AckID = s.ackID
			return presence.Errorf(presence.CodeInvalid, "the message is nested deeper than %d levels", d.limits.Depth).
				WithField(s.field).WithLimit(int64(d.limits.Depth))
		}
	}
	if err := d.readMessage(msg, r); err != nil {
		if r.AckID == nil {
			r.AckID = skim(msg, math.MaxInt).ackID
		}
		return err
	}
	return d.check(r)
}

// readMessage parses the whole message, and sets r.Type, r.AckID and d.raw.
func (d *Decoder) readMessage(msg []byte, r *Request) *presence.Error {
	r.Malformed = true
	d.raw = raw{}
	d.source = *bytes.NewBuffer(msg)
	d.json.Reset(&d.source)

	object, err := d.json.ReadValue()
	if err != nil {
		return syntaxError(err)
	}
	if object[0] != '{' {
		return presence.Errorf(presence.CodeInvalid, "the message is not a JSON object")
	}
	d.readEnvelope(object)
	if ack := d.raw.ackID; ack != nil && ack[0] == '"' {
		r.AckID = ack
	}
	if rest := d.json.UnreadBuffer(); skipSpace(rest, 0) < len(rest) {
		return presence.Errorf(presence.CodeInvalid, "there is something behind the message's JSON object")
	}
	switch {
	case d.raw.typ == nil:
		return invalid(fieldType, "type is missing")
	case d.raw.typ[0] != '"':
		return invalid(fieldType, "type is not a string")
	}
	r.Type = typeOf(d.text(d.raw.typ, &d.typ))
	r.Malformed = false
	return nil
}

// readEnvelope finds the fields of the outermost object, which is valid.
func (d *Decoder) readEnvelope(object []byte) {
	w := &d.walk
	w.b, w.i = object, 0
	for name, ok := w.next(); ok; name, ok = w.next() {
		switch string(name) {
		case fieldType:
			d.raw.typ, _ = w.value()
		case fieldAckID:
			d.raw.ackID, _ = w.value()
		case fieldBody:
			if start := w.i; w.b[start] == '{' {
				d.readBody()
				d.raw.body = w.b[start:w.i]
			} else {
				d.raw.body, _ = w.value()
			}
		default:
			w.value()
		}
	}
}

// readBody finds the fields of the object `body`.
func (d *Decoder) readBody() {
	w := &d.walk
	for name, ok := w.next(); ok; name, ok = w.next() {
		value, spaced := w.value() // leaves name as it is
		switch string(name) {
		case fieldRoom:
			d.raw.room = value
		case fieldEvent:
			d.raw.event = value
		case fieldUserData:
			d.raw.userData, d.raw.userDataSpaced = value, spaced
		case fieldData:
			d.raw.data, d.raw.dataSpaced = value, spaced
		case fieldLimit:
			d.raw.limit = value
		case fieldVisibility:
			d.raw.visibility = value
		case fieldPassword, fieldAccessToken:
			d.raw.password = d.raw.password || present(value)
		}
	}
}

// text returns what a valid JSON string says: a part of it when it has no
// escapes, else scratch, overwritten.
func (d *Decoder) text(quoted []byte, scratch *[]byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	*scratch, _ = jsontext.AppendUnquote((*scratch)[:0], quoted) // valid: it has been parsed
	return *scratch
}

// syntaxError says where and why a message is no JSON of ours.
func syntaxError(err error) *presence.Error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) { // io.EOF: nothing else can go wrong with a reader of bytes
		return presence.Errorf(presence.CodeInvalid, "the message is empty")
	}
	var names [2]string
	for i, name := range pointerPrefix(syntax.JSONPointer) {
		names[i] = name
	}
	return presence.Errorf(presence.CodeInvalid, "the message is not valid JSON: %v at byte %s",
		syntax.Err, count(int(syntax.ByteOffset))).WithField(fieldOf([]byte(names[0]), []byte(names[1])))
}

// pointerPrefix returns the first two names of a JSON pointer. Our fields hold
// nothing that a pointer escapes.
func pointerPrefix(p jsontext.Pointer) []string {
	names := strings.SplitN(strings.TrimPrefix(string(p), "/"), "/", 3)
	return names[:min(len(names), 2)]
}
