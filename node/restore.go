package node

import (
	"encoding/json"
	"slices"
	"strings"

	presence "presencesets"
	"presencesets/auth"
	"presencesets/protocol"
)

// A connection that is resumed. Before its first frame the store has put the
// session under this node and every membership under the new incarnation,
// without an event. What is left for the node:
//
//	rooms           at once: a request that came with the first bytes finds them
//	first frame     with the same connectionId
//	subscriptions   room by room, in the place of a request: watch ▶ what was
//	                missed ▶ live. The client's requests for the room wait behind
//	acknowledgements that were owed to the old socket, as soon as they are there
//
// A subscription that cannot be resumed now closes the socket with "try again":
// the client believes that it listens.

// restore makes c what the session says that it was.
func (l *loop) restore(c *conn, op *presence.Op) {
	was := op.Restored
	if was == nil {
		return
	}
	if was.State == "live" {
		l.node.Taken(c.id, c.inc) // the store says so, too, but perhaps behind the Late below
	}
	for i := range was.Rooms {
		l.restoreRoom(c, &was.Rooms[i], was)
		if c.state != stateOpen {
			return
		}
	}
	if was.From != "" && was.State != "away" {
		ref, conn, grace := c.ref(), c.id, l.node.grace(c.key)
		l.node.opts.Store.Late(c.id, was.From, func(payloads [][]byte) {
			if len(payloads) > 0 {
				back := func(l *loop) { l.node.late.back(conn, grace, payloads) }
				l.post(task{kind: taskLate, ref: ref, payloads: payloads, do: back}) // else the loop has ended, and c with it
			}
		})
	}
}

// restoreRoom puts c back into a room and begins to resume its subscriptions.
func (l *loop) restoreRoom(c *conn, in *presence.Listed, was *presence.Restored) {
	e := l.newEntry(c, []byte(in.Room))
	e.joined, e.answer = true, in.Revision
	if in.Member {
		l.setMember(e, true)
		e.present, e.data, e.at = true, string(in.Data), in.At
	}
	mask, binds := parseSubscriptions(in.Track)
	if !c.key.Permissions.Allows(in.Room, auth.PermPresence) { // it may come by another key
		mask &^= maskPresence
	}
	if !c.key.Permissions.Allows(in.Room, auth.PermSubscribe) {
		mask, binds = mask&^maskMessages, nil
	}
	if mask == 0 {
		return
	}
	e.restoring, e.handed = mask&maskPresence != 0, in.Handed
	r := l.newRequest(c)
	r.errand, r.typ = errandRestore, protocol.TypePresenceSubscribe
	r.entry, r.want, r.wantMask, r.stage = e, binds, mask, stageTrack
	r.from = presence.Replay{Conn: c.id, Handed: in.Handed, From: was.From, Lost: was.Lost}
	if !l.proceedSubscriptions(c, e, r) {
		l.restored(c, e, r)
		r.release()
	}
}

// restored closes c when its subscriptions could not be resumed: the client
// believes that it listens, and must come back for it.
func (l *loop) restored(c *conn, e *entry, r *request) {
	if c.state == stateOpen && !e.gone && e.mask&r.wantMask != r.wantMask {
		l.closeWith(c, closeTryAgain, "the subscriptions could not be resumed now; connect again", endError)
	}
}

// replay tells c what it missed in the room of a subscription that is resumed.
func (l *loop) replay(c *conn, e *entry, r *request) {
	var frames []byte
	for _, ev := range r.op.Replayed {
		if ev.Kind == presence.KindMark || r.wantMask&kindMask(ev.Kind) == 0 {
			continue
		}
		l.scratch = protocol.AppendEvent(l.scratch[:0], e.room.app, e.room.name, ev)
		frames = appendFrame(frames, 1, l.scratch)
		l.stats.FramesOut++
		l.stats.Delivered[ev.Kind]++
	}
	e.restoring, e.handed = false, r.op.Revision
	r.op.Replayed = nil
	if len(frames) > 0 {
		l.flushReplies()
		if c.state == stateOpen {
			l.send(c, frames, true)
		}
	}
}

// sendLate sends acknowledgements that were owed to the last socket of the
// connection that ref carries now; false: it carries none.
func (l *loop) sendLate(ref connRef, payloads [][]byte) bool {
	c := l.conns.get(ref)
	if c == nil || c.state != stateOpen || c.flags&flagTaken != 0 {
		return false
	}
	for _, p := range payloads {
		l.m.LateAcks.Inc()
		l.reply(c, p)
	}
	return true
}

// parseSubscriptions reads a session's line of a room, `FLAG REV SUBS`: the
// inverse of trackLine.
func parseSubscriptions(track string) (mask uint8, binds []string) {
	_, rest, _ := strings.Cut(track, " ")
	_, text, _ := strings.Cut(rest, " ")
	var subs struct {
		Presence []string `json:"presence"`
		Bind     []string `json:"bind"`
	}
	if json.Unmarshal([]byte(text), &subs) != nil {
		return 0, nil // somebody's hand: the room is resumed without them
	}
	for _, word := range subs.Presence {
		if k := presence.ParseKind(word); k != 0 && k != presence.KindMark {
			mask |= kindMask(k)
		}
	}
	for _, name := range subs.Bind {
		if name == protocol.EventAll {
			mask |= maskAll
			continue
		}
		binds = append(binds, string(protocol.AppendString(nil, name)))
		mask |= maskNamed
	}
	return mask, slices.Compact(binds)
}
