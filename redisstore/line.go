package redisstore

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	presence "presencesets"
)

// Two texts that scripts write and we read, both in a fixed order, so that
// neither side needs a JSON parser and what a client sent is never decoded:
//
//	member   {"rev":R,"inc":I,"node":"STAMP","at":MS,"client":"C","data":D}
//	         without ,"data":D when none was sent
//
//	event    <kind> <rev> <prev> <conn> <ms> <reason> <member>
//	         join 1795569466197666 1795569466197665 8d01c1… 1795569466201 - {"rev":…}
//	         mark 1795569466197700 1795569466197666 - 1795569466300 - -
//
// Somebody's hand may have been at either. A text of another form is an error
// that says where, and never a panic. Of client and data only the outline is
// checked (valid UTF-8, strings that end, brackets that match): a member with
// half an object in it would break every frame that it becomes part of.

// The largest revision: JavaScript and Lua hold it exactly.
const maxRevision = 1 << 53

// parseEvent reads an event line. The event's Client and Data point into line.
func parseEvent(line []byte) (presence.Event, error) {
	var e presence.Event
	var part [6][]byte
	rest := line
	for i := range part {
		var ok bool
		if part[i], rest, ok = bytes.Cut(rest, []byte{' '}); !ok {
			return e, fmt.Errorf("event line has %d spaces; want 6", i)
		}
	}
	kind, rev, prev, conn, ms, reason := part[0], part[1], part[2], part[3], part[4], part[5]

	if e.Kind = presence.ParseKind(string(kind)); e.Kind == 0 {
		return e, fmt.Errorf("event has unknown kind %.20q", kind)
	}
	var ok [3]bool
	var n int64
	n, ok[0] = parseDecimal(rev)
	e.Revision = presence.Revision(n)
	n, ok[1] = parseDecimal(prev)
	e.Prev = presence.Revision(n)
	e.Time, ok[2] = parseDecimal(ms)
	switch {
	case !ok[0] || e.Revision > maxRevision:
		return e, fmt.Errorf("event has revision %.20q", rev)
	case !ok[1] || e.Prev >= e.Revision:
		return e, fmt.Errorf("event %d has previous revision %.20q", e.Revision, prev)
	case !ok[2]:
		return e, fmt.Errorf("event %d has time %.20q", e.Revision, ms)
	}
	switch {
	case len(reason) == 0:
		return e, fmt.Errorf("event %d has no reason", e.Revision)
	case string(reason) != "-":
		e.Reason = presence.Reason(reason)
	}
	if e.Kind == presence.KindMark {
		if string(conn) != "-" || string(rest) != "-" || e.Reason != "" {
			return e, fmt.Errorf("mark %d names a member", e.Revision)
		}
		return e, nil
	}
	id, valid := presence.ParseConnID(string(conn))
	if !valid {
		return e, fmt.Errorf("event %d has connection %.24q", e.Revision, conn)
	}
	m, err := parseMember(id, rest)
	if err != nil {
		return e, fmt.Errorf("event %d: %w", e.Revision, err)
	}
	switch {
	case e.Kind == presence.KindLeave && !knownReason(e.Reason):
		return e, fmt.Errorf("leave %d has reason %.20q", e.Revision, reason)
	case e.Kind != presence.KindLeave && (e.Reason != "" || m.Revision != e.Revision):
		return e, fmt.Errorf("%s %d has reason %.20q and a member of revision %d", e.Kind, e.Revision, reason, m.Revision)
	}
	e.Conn, e.At, e.Inc, e.Client, e.Data = id, m.At, m.Inc, m.Client, m.Data
	return e, nil
}

// appendEvent appends the line of e, as parseEvent reads it. A member's node,
// which an event does not have, is empty.
func appendEvent(dst []byte, e *presence.Event) []byte {
	dst = append(append(dst, e.Kind.String()...), ' ')
	dst = append(strconv.AppendInt(dst, int64(e.Revision), 10), ' ')
	// Of several that a comparison told at one revision, all but the first have
	// that for their Prev.
	dst = append(strconv.AppendInt(dst, int64(min(e.Prev, e.Revision-1)), 10), ' ')
	dst = append(e.Conn.AppendTo(dst), ' ')
	dst = append(strconv.AppendInt(dst, e.Time, 10), ' ')
	if e.Reason == "" {
		dst = append(dst, '-')
	}
	dst = append(append(dst, e.Reason...), ` {"rev":`...)
	dst = append(strconv.AppendInt(dst, int64(e.Revision), 10), `,"inc":`...)
	dst = append(strconv.AppendInt(dst, e.Inc, 10), `,"node":"","at":`...)
	dst = append(strconv.AppendInt(dst, e.At, 10), `,"client":`...)
	dst = append(dst, e.Client...)
	if e.Data != nil {
		dst = append(append(dst, `,"data":`...), e.Data...)
	}
	return append(dst, '}')
}

// knownReason says whether r is one of the reasons of a leave.
func knownReason(r presence.Reason) bool {
	switch r {
	case presence.ReasonLeft, presence.ReasonRoomLeft, presence.ReasonClosed, presence.ReasonTimeout,
		presence.ReasonNodeLost, presence.ReasonKicked, presence.ReasonExpired, presence.ReasonUnknown:
		return true
	}
	return false
}

// parseMember reads the value of a member. The member's Client and Data point
// into value.
func parseMember(conn presence.ConnID, value []byte) (presence.Member, error) {
	m := presence.Member{Conn: conn}
	c := cursor{rest: value}
	c.word(`{"rev":`)
	m.Revision = presence.Revision(c.decimal("rev"))
	c.word(`,"inc":`)
	m.Inc = c.decimal("inc")
	c.word(`,"node":`)
	node := c.quoted("node")
	c.word(`,"at":`)
	m.At = c.decimal("at")
	c.word(`,"client":`)
	m.Client = c.quoted("client")
	if rest, ok := bytes.CutPrefix(c.rest, []byte(`,"data":`)); ok {
		m.Data = bytes.TrimSuffix(rest, []byte{'}'})
		c.rest = rest[len(m.Data):]
	}
	c.word(`}`)
	switch {
	case c.err != nil:
	case len(c.rest) != 0:
		c.err = errors.New("something follows its end")
	case m.Revision == 0 || m.Revision > maxRevision:
		c.err = fmt.Errorf("rev is %d", m.Revision)
	case bytes.IndexByte(node, '\\') >= 0:
		c.err = errors.New("node holds an escape")
	case m.Data != nil && !wholeJSON(m.Data):
		c.err = errors.New("data is no whole JSON value")
	case !utf8.Valid(value):
		c.err = errors.New("it is not UTF-8")
	}
	if c.err != nil {
		return presence.Member{}, fmt.Errorf("member %s: %w", conn, c.err)
	}
	m.Node = string(node[1 : len(node)-1])
	return m, nil
}

// cursor walks over a member value. After the first error its methods do
// nothing.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) word(w string) {
	if c.err != nil {
		return
	}
	rest, ok := bytes.CutPrefix(c.rest, []byte(w))
	if !ok {
		c.err = fmt.Errorf("want %s at %.20q", w, c.rest)
		return
	}
	c.rest = rest
}

func (c *cursor) decimal(what string) int64 {
	if c.err != nil {
		return 0
	}
	i := 0
	for i < len(c.rest) && c.rest[i] >= '0' && c.rest[i] <= '9' {
		i++
	}
	n, ok := parseDecimal(c.rest[:i])
	if !ok {
		c.err = fmt.Errorf("%s is no number at %.20q", what, c.rest)
		return 0
	}
	c.rest = c.rest[i:]
	return n
}

// quoted takes a JSON string and returns it with its quotes.
func (c *cursor) quoted(what string) []byte {
	if c.err != nil {
		return nil
	}
	n := stringEnd(c.rest)
	if n == 0 {
		c.err = fmt.Errorf("%s is no JSON string at %.20q", what, c.rest)
		return nil
	}
	s := c.rest[:n:n]
	c.rest = c.rest[n:]
	return s
}

// parseDecimal reads 1 to 18 digits and nothing else, no superfluous zero.
func parseDecimal(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// stringEnd returns the length of the JSON string that b begins with, quotes
// included; 0 when there is none.
func stringEnd(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
		case c < ' ':
			return 0
		}
	}
	return 0
}

// wholeJSON says whether b has the outline of one JSON value: its strings end,
// its brackets match, and nothing follows. It does not look into numbers and
// words. O(len(b)), no allocation below 64 levels.
func wholeJSON(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch b[0] {
	case '"':
		return stringEnd(b) == len(b)
	case '{', '[':
	default: // a number, true, false, null
		for _, c := range b {
			if c <= ' ' || bytes.IndexByte([]byte(`{}[],:"\`), c) >= 0 {
				return false
			}
		}
		return true
	}
	var stack [64]byte
	open := stack[:0]
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			n := stringEnd(b[i:])
			if n == 0 {
				return false
			}
			i += n - 1
		case '{', '[':
			open = append(open, c+2) // '}' and ']' are two behind in ASCII
		case '}', ']':
			if open[len(open)-1] != c {
				return false
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return i == len(b)-1
			}
		default:
			if c < ' ' {
				return false
			}
		}
	}
	return false
}
