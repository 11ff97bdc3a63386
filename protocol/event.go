package protocol

import (
	"strconv"
	"time"

	"presencesets"
)

// AppendEvent appends the frame that tells a subscriber of a join, an update
// or a leave. Client and Data of e go in as they are (invariant 9). It is the
// same for every subscriber: build it once a node.
func AppendEvent(dst []byte, app, room string, e *presence.Event) []byte {
	kind := e.Kind.String()
	dst = append(dst, `{"type":"`...)
	dst = appendNamespaced(dst, app, room)
	dst = append(dst, PresenceInfix...)
	dst = append(dst, kind...)
	dst = append(dst, `","body":{"event":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","timestamp":"`...)
	dst = appendTime(dst, e.Time)
	dst = append(dst, `",`...)
	dst = appendWho(dst, app, e.Conn, e.Client)
	if e.Data != nil {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Data...)
	}
	dst = append(dst, `,"revision":`...)
	dst = strconv.AppendInt(dst, int64(e.Revision), 10)
	if e.Reason != "" {
		dst = append(dst, `,"reason":"`...)
		dst = append(dst, e.Reason...)
		dst = append(dst, '"')
	}
	return append(dst, "}}"...)
}

// AppendMembers appends the answer of presence:get, the members in the order
// given. A member looks like the join event that announced it, with the data
// and the revision of its latest change.
func AppendMembers(dst []byte, app string, members []presence.Member) []byte {
	dst = append(dst, '[')
	for i := range members {
		m := &members[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = appendWho(dst, app, m.Conn, m.Client)
		dst = append(dst, `,"event":"join","timestamp":"`...)
		dst = appendTime(dst, m.At)
		dst = append(dst, '"')
		if m.Data != nil {
			dst = append(dst, `,"data":`...)
			dst = append(dst, m.Data...)
		}
		dst = append(dst, `,"revision":`...)
		dst = strconv.AppendInt(dst, int64(m.Revision), 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendWho appends the fields id, clientId and connectionId.
func appendWho(dst []byte, app string, conn presence.ConnID, client []byte) []byte {
	dst = append(dst, `"id":"`...)
	dst = appendConnection(dst, app, conn)
	if client != nil {
		dst = append(dst, `","clientId":`...)
		dst = append(dst, client...)
		dst = append(dst, `,"connectionId":"`...)
	} else {
		dst = append(dst, `","connectionId":"`...)
	}
	dst = appendConnection(dst, app, conn)
	return append(dst, '"')
}

// appendTime appends Unix milliseconds as ISO 8601 in UTC:
// 2024-07-13T10:13:28.496Z.
func appendTime(dst []byte, ms int64) []byte {
	return time.UnixMilli(ms).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}
