package protocol

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// skimmed is what [skim] finds.
type skimmed struct {
	ackID   []byte // JSON string, quotes included; nil when none can be read
	tooDeep bool   // more levels than allowed
	field   string // the field in which they are, "" when it has no name of ours
}

// skim walks over a message without judging it: a message that is too long,
// nested too deep or no JSON at all is answered all the same when its ackId
// can be read, because the public client waits for ever for an answer.
//
// It follows strings and brackets only, and takes the ackId of the outermost
// object. When the brackets do not add up, the levels mean nothing: then the
// last `"ackId":"…"` of the message is taken, at whatever level. (Quotes in
// strings are escaped, so those bytes can be nothing but a name.)
//
// Its cost grows with len(msg) and with nothing else.
func skim(msg []byte, depth int) skimmed {
	var found skimmed
	var outer, inner []byte // the last names at levels 1 and 2, quotes included
	level, broken := 0, false
	for i := 0; i < len(msg); i++ {
		switch msg[i] {
		case '{', '[':
			level++
			if level > depth && !found.tooDeep {
				found.tooDeep = true
				found.field = fieldOf(unquoted(outer), unquoted(inner))
			}
		case '}', ']':
			level--
			broken = broken || level < 0
		case '"':
			end, _ := stringEnd(msg, i)
			if end > len(msg) {
				broken = true
				i = len(msg)
				break
			}
			if value := nameEnd(msg, end); value >= 0 {
				switch name := msg[i:end]; level {
				case 1:
					outer, inner = name, nil
					if found.ackID == nil && string(name) == `"ackId"` {
						found.ackID = stringAt(msg, value)
					}
				case 2:
					inner = name
				}
			}
			i = end - 1
		}
	}
	if found.ackID == nil && (broken || level != 0) {
		found.ackID = lastAckID(msg)
	}
	return found
}

// lastAckID returns the value of the last name "ackId" that has a string. It
// looks at a few only, so that a message full of them costs no more.
func lastAckID(msg []byte) []byte {
	const name = `"ackId"`
	for range 4 {
		at := bytes.LastIndex(msg, []byte(name))
		if at < 0 {
			return nil
		}
		if value := nameEnd(msg, at+len(name)); value >= 0 {
			if id := stringAt(msg, value); id != nil {
				return id
			}
		}
		msg = msg[:at]
	}
	return nil
}

// nameEnd returns where the value begins when the string that ends at i is an
// object's name, that is, has a colon behind it; else -1.
func nameEnd(msg []byte, i int) int {
	if i = skipSpace(msg, i); i < len(msg) && msg[i] == ':' {
		return skipSpace(msg, i+1)
	}
	return -1
}

// stringAt returns the JSON string that begins at msg[i]; nil when there is
// none or it is not valid, since it would make the answer invalid.
func stringAt(msg []byte, i int) []byte {
	if i >= len(msg) || msg[i] != '"' {
		return nil
	}
	end, _ := stringEnd(msg, i)
	if end > len(msg) || !jsontext.Value(msg[i:end]).IsValid() {
		return nil
	}
	return msg[i:end:end]
}

func skipSpace(msg []byte, i int) int {
	for i < len(msg) && isSpace(msg[i]) {
		i++
	}
	return i
}

// unquoted takes the quotes off a string without escapes.
func unquoted(s []byte) []byte {
	if len(s) < 2 {
		return nil
	}
	return s[1 : len(s)-1]
}
