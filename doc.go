// Package presence is the vocabulary of Presence Sets: who is in which room,
// across many nodes, with all state in Redis.
//
//	browser / app          edge node (many)                     Redis
//	┌──────────────┐  ws   ┌─────────────────────────────┐      ┌────────────────────────┐
//	│ RelayBox SDK │──────▶│ node: socket, frames,       │ ops  │ scripts/*.lua: join,   │
//	│ room.presence│       │ session, permission         │─────▶│ update, leave, …       │
//	│              │◀──────│ room: who subscribes here   │◀─────│ room hash · session    │
//	└──────────────┘ frame └─────────────────────────────┘ feed └────────────────────────┘
//
// A *presence set* is the group of connections that are active in a room. An
// edge node owns sockets and nothing else that matters: every fact about who
// is present is in Redis, is changed only by a Lua script and can be read with
// redis-cli (docs/redis.md).
//
// This package holds the words that the others share (Event, Member,
// Revision, ConnID), the operations that the edge asks of the store (Op), and
// the one table of errors. It touches no socket and no clock. Where to read
// on: docs/tour.md walks one join through the code.
package presence
