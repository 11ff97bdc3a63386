package model

import (
	"maps"
	"slices"
)

// shard is the part of the connections' keys that conn is in.
func shard(conn string) string { return conn[:2] }

// names builds keys and channels.
type names string

func (p names) room(room, rest string) string   { return string(p) + ":{" + room + "}:" + rest }
func (p names) conn(conn, rest string) string   { return string(p) + ":{c" + shard(conn) + "}:" + rest }
func (p names) session(conn string) string      { return p.conn(conn, "session:"+conn) }
func (p names) grace(conn string) string        { return p.conn(conn, "grace:"+conn) }
func (p names) due(conn string) string          { return p.conn(conn, "due") }
func (p names) index(conn, stamp string) string { return p.conn(conn, "node:"+stamp) }
func (p names) nodes(rest string) string        { return string(p) + ":{nodes}:" + rest }

// put is a call with one operation; its fourth argument is the script's own.
func (o Join) put(script, p string, fourth any, head ...any) Call {
	k := names(p)
	return Call{script, []string{k.room(o.Room, "members")}, append(head,
		k.room(o.Room, "feed"), o.Conn, o.Inc, fourth, Tail(o.Client, o.Data))}
}

func (o Join) retry() int {
	if o.Retry {
		return 1
	}
	return 0
}

// Call is the call of join.lua.
func (o Join) Call(p string) Call {
	return o.put("join", p, o.retry(), o.ValidUntil, o.Floor, o.Stamp, o.Max)
}

// Call is the call of assert.lua.
func (o Assert) Call(p string) Call {
	return o.Join.put("assert", p, o.At, o.ValidUntil, o.Floor, o.Stamp, o.Max)
}

// Call is the call of update.lua.
func (o Update) Call(p string) Call {
	return Join(o).put("update", p, Join(o).retry(), o.ValidUntil, o.Floor, o.Stamp)
}

// Call is the call of leave.lua.
func (o Leave) Call(p string) Call {
	k := names(p)
	return Call{"leave", []string{k.room(o.Room, "members")}, []any{
		o.ValidUntil, o.Floor, k.room(o.Room, "feed"), o.Conn, o.Inc, o.Reason, o.Data,
	}}
}

// Call is the call of adopt.lua.
func (o Adopt) Call(p string) Call {
	return Call{"adopt", []string{names(p).room(o.Room, "members")}, []any{o.ValidUntil, o.Stamp, o.Conn, o.Inc, o.From}}
}

// Call is the call of mark.lua.
func (o Mark) Call(p string) Call {
	k := names(p)
	return Call{"mark", []string{k.room(o.Room, "members")}, []any{o.ValidUntil, k.room(o.Room, "feed"), o.Floor}}
}

// Call is the call of open.lua.
func (o Open) Call(p string) Call {
	k := names(p)
	return Call{"open", []string{k.session(o.Conn), k.index(o.Conn, o.Stamp)}, []any{
		o.Conn, o.MinInc, o.Stamp, o.App, o.Key, o.Client, o.Grace, o.Secret, o.ValidUntil,
	}}
}

// Call is the call of track.lua.
func (o Track) Call(p string) Call {
	return Call{"track", []string{names(p).session(o.Conn)}, []any{o.Inc, o.ValidUntil, o.Room, o.Value.String(), o.Max}}
}

// Call is the call of adopted.lua.
func (o Adopted) Call(p string) Call {
	return Call{"adopted", []string{names(p).session(o.Conn)}, []any{o.Inc, o.ValidUntil}}
}

// Call is the call of untrack.lua.
func (o Untrack) Call(p string) Call {
	args := []any{o.Inc, o.Room, o.ValidUntil}
	if o.OnlyLeft {
		args = append(args, "x")
	}
	return Call{"untrack", []string{names(p).session(o.Conn)}, args}
}

// Call is the call of detach.lua.
func (o Detach) Call(p string) Call {
	k := names(p)
	args := []any{o.Conn, o.Inc, o.Grace, o.Fence}
	for _, room := range slices.Sorted(maps.Keys(o.Handed)) {
		args = append(args, room, o.Handed[room])
	}
	return Call{"detach", []string{k.session(o.Conn), k.grace(o.Conn), k.due(o.Conn)}, args}
}

// Call is the call of resume.lua.
func (o Resume) Call(p string) Call {
	k := names(p)
	return Call{"resume", []string{
		k.session(o.Conn), k.grace(o.Conn), k.due(o.Conn), k.index(o.Conn, o.OldStamp), k.index(o.Conn, o.Stamp),
	}, []any{
		o.Conn, o.App, o.Key, o.Client, o.Secret, o.Stamp, o.OldStamp, o.ValidUntil, o.Newest, o.MinInc, o.FenceMS,
		k.conn(o.Conn, "ctl:"+o.OldStamp),
	}}
}

// Call is the call of close.lua.
func (o Close) Call(p string) Call {
	k := names(p)
	return Call{"close", []string{k.session(o.Conn), k.grace(o.Conn), k.due(o.Conn)}, []any{
		o.Conn, o.Inc, o.ClaimMS, o.Why, o.Fence,
	}}
}

// Call is the call of claim.lua. There is at least one connection.
func (o Claim) Call(p string) Call {
	k := names(p)
	keys, args := []string{k.due(o.Conns[0])}, []any{o.ClaimMS}
	for _, c := range o.Conns {
		keys = append(keys, k.session(c), k.grace(c))
		args = append(args, c)
	}
	return Call{"claim", keys, args}
}

// Call is the call of finish.lua. There is at least one connection.
func (o Finish) Call(p string) Call {
	k := names(p)
	keys, args := []string{k.due(o.Ends[0].Conn)}, []any{o.Claimed}
	for _, e := range o.Ends {
		keys = append(keys, k.session(e.Conn), k.index(e.Conn, e.Node))
		args = append(args, e.Conn, e.Inc, e.Retention)
	}
	return Call{"finish", keys, args}
}

// Call is the call of orphan.lua. There is at least one connection.
func (o Orphan) Call(p string) Call {
	k := names(p)
	keys := []string{k.index(o.Conns[0], o.Stamp), k.due(o.Conns[0])}
	args := []any{o.Stamp, o.Why, o.LeaseEnd, o.TTL, o.Grace}
	for _, c := range o.Conns {
		keys = append(keys, k.session(c), k.grace(c))
		args = append(args, c)
	}
	return Call{"orphan", keys, args}
}

// Call is the call of register.lua.
func (o Register) Call(p string) Call {
	k := names(p)
	return Call{"register", []string{k.nodes("epochs"), k.nodes("registry"), k.nodes("due")}, []any{o.Node, o.TTL, o.Value}}
}

// Call is the call of beat.lua.
func (o Beat) Call(p string) Call {
	k := names(p)
	return Call{"beat", []string{k.nodes("lease:" + o.Stamp), k.nodes("registry"), k.nodes("due")}, []any{o.Stamp, o.TTL, o.Value}}
}

func (p names) stamp(stamp string) []string {
	return []string{p.nodes("lease:" + stamp), p.nodes("registry"), p.nodes("due"), p.nodes("reaping")}
}

// Call is the call of condemn.lua.
func (o Condemn) Call(p string) Call {
	return Call{"condemn", names(p).stamp(o.Stamp), []any{o.Stamp, o.Skew, o.ClaimMS}}
}

// Call is the call of retire.lua.
func (o Retire) Call(p string) Call {
	return Call{"retire", names(p).stamp(o.Stamp), []any{o.Stamp, o.TTL, o.ClaimMS}}
}

// Call is the call of bury.lua.
func (o Bury) Call(p string) Call {
	k := names(p)
	return Call{"bury", []string{k.nodes("reaping"), k.nodes("due")}, []any{o.Stamp}}
}
