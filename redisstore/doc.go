// Package redisstore is the only package that talks to Redis: it keeps the
// rooms and the connections there, and brings the events back.
//
// # What is where
//
// A room is one hash, a connection is one hash, and what must be finished is
// in a list with deadlines (keys.go has all names):
//
//	presence:{app1:lobby}:members     #  → 1795569466197666        the revision
//	                                  3f9ac1… → {"rev":…,"inc":…,"node":"n1.5",…}
//	presence:{c3f}:session:3f9ac1…    app, key, client, node, inc, state, …
//	                                  room:app1:lobby → p 0 {}
//	presence:{c3f}:node:n1.5          3f9ac1… → inc                who holds it
//	presence:{c3f}:due                3f9ac1… → deadline           ends, and when
//	presence:{nodes}:registry         n1.5 → {"addr":…}            who is alive
//
// Everything is changed by scripts (package scripts), never by single
// commands: what must change together does, and the event is published in the
// same step.
//
// # Who does what
//
//	         Submit        OpResume, OpReclaim      Depart, Detach
//	           │                    │                     │
//	store.go   │          resume.go ▼ reclaim.go          ▼  departure.go, detach.go
//	           │          take ▶ adopt × rooms      close ▶ leave × rooms ▶ finish
//	           │          taking.go, turns.go       detach ▶ [grace] ▶ claim ▶ …
//	           │                    │  fence.go: once     │     ▲
//	           │                    │  more, later        │     └── expiry.go, reaper.go:
//	           ▼                    ▼                     ▼         what others left
//	         lane.go ◀── settle.go: repeats what was not answered
//	           │
//	           ▼
//	batch.go, command.go: runs of one script, one pipeline ──▶ Redis
//	outcome.go: what became of each ──▶ Done, next step        │
//	                                                           ▼
//	lease.go: may this node write, and until when    feed.go: events ──▶ sinks
//	doubt.go: does Redis hold what it acknowledged
//
// # What holds
//
// Every operation that Submit takes is answered within 2 s, but for a reclaim,
// which waits for its turn: done, refused (certainly not sent), or unknown.
// What is unknown is settled when Redis is back, and Done is called again.
//
// Every write carries the moment, on Redis's clock, until which it is valid
// (lease.go). So a node that was cut off cannot write behind the back of those
// who gave it up, and an operation without an answer is dead at a known time.
//
// The session of a connection lists a room before the connection joins it and
// until its leave was answered. So whoever ends a connection needs nothing but
// the session, and nothing that a process knew dies with it.
//
// A membership ends once: the script that removes the member is the one that
// publishes, and finds nothing the second time.
//
// A connection belongs to the highest incarnation. Whoever resumes it makes a
// higher one, in its session and then in every room, and from there what an
// earlier owner still writes is refused. Where a room has no member to tell,
// the session's fence does: until no earlier owner can write any more the
// session forgets no room, and then all of them are left once more with the
// incarnation below.
//
// # Several masters
//
// Everything that one operation needs is in one slot (the braces in the keys),
// so an operation goes to one master. Each master has a lane and a link; what
// they bring comes together in one feed (topology.go, upstream.go). What one
// master's past being in doubt means is decided for that master; judging and
// claiming wait for all of them.
package redisstore
