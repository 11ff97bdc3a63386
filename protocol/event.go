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
	from := len(dst)
	dst = appendConnection(dst, app, conn)
	to := len(dst)
	if client != nil {
		dst = append(dst, `","clientId":`...)
		dst = append(dst, client...)
		dst = append(dst, `,"connectionId":"`...)
	} else {
		dst = append(dst, `","connectionId":"`...)
	}
	dst = append(dst, dst[from:to]...)
	return append(dst, '"')
}

// appendTime appends Unix milliseconds as ISO 8601 in UTC:
// 2024-07-13T10:13:28.496Z. It is written out because every event has one and
// time's own takes ten times as long.
func appendTime(dst []byte, ms int64) []byte {
	const msPerDay = 24 * 60 * 60 * 1000
	if ms < 0 || ms >= 2932897*msPerDay { // before 1970 or after 9999: no clock of ours
		return time.UnixMilli(ms).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	year, month, day := civil(uint32(ms / msPerDay))
	t := uint32(ms % msPerDay)
	return append(dst,
		digit(year/1000), digit(year/100), digit(year/10), digit(year), '-',
		digit(month/10), digit(month), '-', digit(day/10), digit(day), 'T',
		digit(t/36000000), digit(t/3600000), ':', digit(t/600000%6), digit(t/60000), ':',
		digit(t/10000%6), digit(t/1000), '.', digit(t/100), digit(t/10), digit(t), 'Z')
}

// digit returns the last digit of n.
func digit(n uint32) byte { return '0' + byte(n%10) }

// civil turns days since 1970-01-01 into a date. Years begin in March here, so
// that the leap day is their last, and an era is the 146,097 days after which
// the calendar repeats.
func civil(days uint32) (year, month, day uint32) {
	days += 719468 // since 0000-03-01
	era, dayOfEra := days/146097, days%146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	fromMarch := (5*dayOfYear + 2) / 153
	year, month, day = era*400+yearOfEra, fromMarch+3, dayOfYear-(153*fromMarch+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}
