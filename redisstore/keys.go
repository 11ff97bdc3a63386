package redisstore

import (
	"strings"

	presence "presencesets"
)

// The keys. What stands in braces decides the slot: all keys of a room are in
// one, all keys of a shard of connections, and all keys about nodes.
//
//	<p>:{<app>:<room>}:members      hash    # → revision; connection → member
//	<p>:{<app>:<room>}:feed         channel events of the room
//	<p>:{<app>:<room>}:messages     channel messages of the room
//	<p>:{c3f}:session:<conn>        hash    one connection: owner, state, rooms
//	<p>:{c3f}:node:<stamp>          hash    connections of a node in this shard
//	<p>:{c3f}:grace:<conn>          string  dropped, may still resume
//	<p>:{c3f}:due                   zset    what must be finished, and by when
//	<p>:{c3f}:ctl:<stamp>           channel notices to the node of a connection
//	<p>:{nodes}:lease:<stamp>       string  the node is alive
//	<p>:{nodes}:registry            hash    stamp → what the node says of itself
//	<p>:{nodes}:due                 zset    stamp → end of its lease
//	<p>:{nodes}:reaping             hash    condemned stamps
//	<p>:{nodes}:draining            string  the one stamp that may drain now
//	<p>:{nodes}:epochs              hash    node id → last epoch
//	<p>:{nodes}:schema              string  version of all of this

// shards is the number of parts that the connections' keys are spread over.
const shards = 256

// schemaVersion is the version of the keys, the values and the event line. A
// node refuses to start where it finds a newer one.
const schemaVersion = 1

// fieldRevision is the field of a room's hash that holds its revision. No
// connection id looks like it.
const fieldRevision = "#"

// roomFieldPrefix begins the fields of a session that list rooms:
// room:<app>:<room> → FLAG REV SUBS.
const roomFieldPrefix = "room:"

// keys builds every name that we use in Redis. It is a value: copy it freely.
type keys struct {
	prefix string // the setting redis.prefix: no brace, no space
}

// A room: one slot.

func (k keys) members(app, room string) string {
	return k.prefix + ":{" + app + ":" + room + "}:members"
}

func (k keys) feed(app, room string) string {
	return k.prefix + ":{" + app + ":" + room + "}:feed"
}

func (k keys) messages(app, room string) string {
	return k.prefix + ":{" + app + ":" + room + "}:messages"
}

// appendRoom appends a key or channel of a room; rest is what follows the tag.
func (k keys) appendRoom(dst []byte, app, room, rest string) []byte {
	dst = append(append(dst, k.prefix...), ":{"...)
	dst = append(append(append(dst, app...), ':'), room...)
	return append(append(dst, '}'), rest...)
}

// A connection: one slot a shard.

func (k keys) session(conn presence.ConnID) string {
	return k.shard(conn.Shard(), ":session:") + conn.String()
}

func (k keys) grace(conn presence.ConnID) string {
	return k.shard(conn.Shard(), ":grace:") + conn.String()
}
func (k keys) node(shard int, stamp string) string { return k.shard(shard, ":node:") + stamp }
func (k keys) due(shard int) string                { return k.shard(shard, ":due") }
func (k keys) ctl(shard int, stamp string) string  { return k.shard(shard, ":ctl:") + stamp }

func (k keys) shard(shard int, rest string) string {
	return string(k.appendShard(make([]byte, 0, 80), shard, rest))
}

// appendShard appends a key of a shard; rest is what follows the tag.
func (k keys) appendShard(dst []byte, shard int, rest string) []byte {
	const digits = "0123456789abcdef"
	dst = append(append(dst, k.prefix...), ":{c"...)
	dst = append(dst, digits[shard>>4&15], digits[shard&15], '}')
	return append(dst, rest...)
}

// The nodes: one slot.

func (k keys) lease(stamp string) string { return k.prefix + ":{nodes}:lease:" + stamp }
func (k keys) registry() string          { return k.prefix + ":{nodes}:registry" }
func (k keys) nodesDue() string          { return k.prefix + ":{nodes}:due" }
func (k keys) reaping() string           { return k.prefix + ":{nodes}:reaping" }
func (k keys) draining() string          { return k.prefix + ":{nodes}:draining" }
func (k keys) epochs() string            { return k.prefix + ":{nodes}:epochs" }
func (k keys) schema() string            { return k.prefix + ":{nodes}:schema" }

// roomField is the field of a session that lists a room.
func roomField(app, room string) string { return roomFieldPrefix + app + ":" + room }

// parseRoomField is the inverse of roomField; ok is false for the other fields.
func parseRoomField(field string) (app, room string, ok bool) {
	rest, ok := strings.CutPrefix(field, roomFieldPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}
