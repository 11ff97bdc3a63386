// Package protocol is what goes over the socket: it turns a client's message
// into a [Request] and builds every frame that a client is sent. It does no
// I/O, starts no goroutine and reads no clock, and it holds no state but the
// scratch memory of a [Decoder].
//
//	text from the socket ──Decode──▶ Request ──▶ node ──▶ store
//	text to the socket  ◀──Append──  acknowledgement, presence event, message
//
// # In
//
// [Decoder.Decode] is strict, because what it lets through is stored in Redis
// and read by everyone's parser: a name twice in one object, bytes that are not
// UTF-8, half a surrogate pair, text behind the message, nesting that is too
// deep are all refused. userData and data are never decoded: their JSON text
// goes on as it came, without the white space between its tokens and with
// everything else (invariant 9).
//
// # Out
//
// The Append functions write JSON text behind dst and return the longer slice,
// like append; none of them allocates when dst has room. They add no websocket
// header, so that the caller can put one in front of bytes that it shares
// between many sockets. Every frame's `type` holds a colon: the public client
// emits frames on the emitter that it uses for its own words (`connect`,
// `disconnect`, `error`, …), and none of those has one.
//
// # Where to read
//
// names.go has every name, request.go the way in, skim.go how an ackId is found
// in a message that is no JSON, compact.go the white space, reply.go and event.go
// the way out, query.go and compat.go what a client says in the URL.
// docs/reference/protocol.md is the same for users.
//
// To add a request: its name, Type and row in names.go; its fields in
// request.go; its answer in reply.go; its line in docs/reference/protocol.md.
package protocol
