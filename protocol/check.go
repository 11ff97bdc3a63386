package protocol

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"

	"presencesets"
)

// check sets the rest of r by what its type needs, from the parsed values.
func (d *Decoder) check(r *Request) *presence.Error {
	if ack := d.raw.ackID; ack != nil && ack[0] != '"' && ack[0] != 'n' {
		return invalid(fieldAckID, "ackId is not a string")
	}
	switch r.Type {
	case TypeUnknown, TypeNotSupported, TypeAcknowledgeOnly:
		return nil // answered by the type alone, whatever the body holds
	}
	if present(d.raw.body) && d.raw.body[0] != '{' {
		return invalid(fieldBody, "body is not an object")
	}
	if err := d.checkRoom(r); err != nil {
		return err
	}
	switch r.Type {
	case TypeRoomCreate, TypeRoomJoin:
		r.Password = d.raw.password
		return d.checkVisibility(r)
	case TypeBind, TypePublish, TypeMetricsUnsubscribe:
		if err := d.checkEvent(r); err != nil {
			return err
		}
		if r.Type == TypePublish {
			return d.checkData(r)
		}
	case TypeUnbind:
		if present(d.raw.event) {
			return d.checkEvent(r)
		}
	case TypePresenceSubscribe, TypePresenceUnsubscribe:
		return d.checkPresenceEvent(r)
	case TypePresenceJoin, TypePresenceUpdate, TypePresenceLeave:
		return d.checkUserData(r)
	case TypePresenceGet:
		return d.checkLimit(r)
	}
	return nil
}

// present reports whether an optional field is there: `null` is what some
// languages send for a field that they leave out.
func present(value []byte) bool { return value != nil && value[0] != 'n' }

// checkText returns the text of a field that must be a string of 1 to most bytes.
func (d *Decoder) checkText(field string, value []byte, scratch *[]byte, most int) ([]byte, *presence.Error) {
	switch {
	case !present(value):
		return nil, invalid(field, field+" is missing")
	case value[0] != '"':
		return nil, invalid(field, field+" is not a string")
	}
	text := d.text(value, scratch)
	switch {
	case len(text) == 0:
		return nil, invalid(field, field+" is empty")
	case most > 0 && len(text) > most:
		return nil, presence.Errorf(presence.CodeInvalid, "%s is %s bytes; the limit is %s",
			field, count(len(text)), count(most)).WithField(field).WithLimit(int64(most))
	}
	return text, nil
}

func (d *Decoder) checkRoom(r *Request) (err *presence.Error) {
	if r.Room, err = d.checkText(fieldRoom, d.raw.room, &d.room, d.limits.RoomName); err != nil {
		return err
	}
	for i, c := range r.Room {
		if !roomChar(c) {
			bad, _ := utf8.DecodeRune(r.Room[i:])
			r.Room = nil
			return invalid(fieldRoom, "roomId holds "+strconv.QuoteRune(bad)+
				"; it may hold the letters a to z and A to Z, digits, and - _ : .")
		}
	}
	return nil
}

// roomChar reports whether a room id may hold c.
func roomChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= ':' || c == '-' || c == '_' || c == '.'
}

// checkEvent reads a room event's name: any text, but `$` in front is ours.
func (d *Decoder) checkEvent(r *Request) (err *presence.Error) {
	if r.Event, err = d.checkText(fieldEvent, d.raw.event, &d.event, d.limits.EventName); err != nil {
		return err
	}
	if r.Event[0] != '$' || r.Type == TypeMetricsUnsubscribe ||
		r.Type != TypePublish && string(r.Event) == EventAll {
		return nil
	}
	r.Event = nil
	return invalid(fieldEvent, "event begins with $, which is reserved")
}

func (d *Decoder) checkPresenceEvent(r *Request) (err *presence.Error) {
	if r.Event, err = d.checkText(fieldEvent, d.raw.event, &d.event, d.limits.EventName); err != nil {
		return err
	}
	switch string(r.Event) {
	case "join", "update", "leave":
		return nil
	}
	r.Event = nil
	return invalid(fieldEvent, "event is none of join, update, leave")
}

func (d *Decoder) checkVisibility(r *Request) *presence.Error {
	if r.Type != TypeRoomCreate || !present(d.raw.visibility) {
		return nil
	}
	if d.raw.visibility[0] != '"' {
		return invalid(fieldVisibility, "visibility is not a string")
	}
	r.Visibility = d.text(d.raw.visibility, &d.visibility)
	return nil
}

// checkUserData reads a presence request's data, where `null` is a value.
func (d *Decoder) checkUserData(r *Request) *presence.Error {
	if d.raw.userData == nil {
		return nil
	}
	r.Data = d.compacted(d.raw.userData, d.raw.userDataSpaced)
	if size := len(r.Data); d.limits.Data > 0 && size > d.limits.Data {
		r.Data = nil
		return tooLarge(fieldUserData, size, d.limits.Data).WithField(fieldUserData)
	}
	return nil
}

// checkData reads what a publish sends; the message's own limit bounds it.
func (d *Decoder) checkData(r *Request) *presence.Error {
	if d.raw.data == nil {
		return invalid(fieldData, "data is missing")
	}
	r.Data = d.compacted(d.raw.data, d.raw.dataSpaced)
	return nil
}

// compacted returns value without white space between its tokens.
func (d *Decoder) compacted(value []byte, spaced bool) []byte {
	if !spaced {
		return value
	}
	d.data = compact(d.data[:0], value)
	return d.data
}

func (d *Decoder) checkLimit(r *Request) *presence.Error {
	value := d.raw.limit
	if !present(value) {
		return nil
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return invalid(fieldLimit, "limit is not a positive integer")
		}
	}
	n, err := strconv.Atoi(string(value))
	switch {
	case err != nil: // digits only: too many of them
		n = math.MaxInt
	case n == 0:
		return invalid(fieldLimit, "limit is 0; it must be a positive integer")
	}
	r.Limit = n
	return nil
}

// invalid makes a ValidationError about a field.
func invalid(field, message string) *presence.Error {
	return presence.Errorf(presence.CodeInvalid, "%s", message).WithField(field)
}

// tooLarge makes a PayloadTooLargeError.
func tooLarge(what string, size, limit int) *presence.Error {
	return presence.Errorf(presence.CodeTooLarge, "%s is %s bytes; the limit is %s", what, count(size), count(limit)).
		WithLimit(int64(limit))
}

// count writes a number for people: 65,536.
func count(n int) string {
	s := []byte(strconv.Itoa(n))
	var out bytes.Buffer
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteByte(c)
	}
	return out.String()
}
