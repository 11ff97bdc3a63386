package protocol

// The `type` of what a client sends. Every name is here once.
const (
	nameRoomCreate             = "ds:client:room:create"
	nameRoomJoin               = "ds:client:room:join"
	nameRoomLeave              = "ds:client:room:leave"
	nameBind                   = "ds:client:room:subscription:bind"
	nameUnbind                 = "ds:client:room:subscription:unbind"
	namePublish                = "ds:client:publish"
	namePresenceJoin           = "ds:client:room:presence:join"
	namePresenceUpdate         = "ds:client:room:presence:update"
	namePresenceLeave          = "ds:client:room:presence:leave"
	namePresenceGet            = "ds:client:room:presence:get"
	namePresenceCount          = "ds:client:room:presence:count"
	namePresenceSubscribe      = "ds:client:room:presence:subscribe"
	namePresenceUnsubscribe    = "ds:client:room:presence:unsubscribe"
	namePresenceUnsubscribeAll = "ds:client:room:presence:unsubscribe:all"

	// Out of scope, but sent by the public client without being asked to:
	// room.leave() fails unless the first is acknowledged.
	nameMetricsUnsubscribe      = "ds:client:room:metrics:unsubscribe"
	nameIntellectUnsubscribe    = "ds:client:room:intellect:unsubscribe"
	nameIntellectUnsubscribeAll = "ds:client:room:intellect:unsubscribe:all"
	nameUserUnsubscribe         = "ds:client:auth:user:unsubscribe"
	nameUserUnsubscribeAll      = "ds:client:auth:user:unsubscribe:all"

	// Out of scope.
	nameMetricsSubscribe   = "ds:client:room:metrics:subscribe"
	nameHistoryGet         = "ds:client:room:history:get"
	namePasswordUpdate     = "ds:client:room:password:update"
	nameMemberAdd          = "ds:client:room:member:add"
	nameMemberRemove       = "ds:client:room:member:remove"
	nameMemberType         = "ds:client:room:member:type"
	nameIntellectSubscribe = "ds:client:room:intellect:subscribe"
	nameUserSubscribe      = "ds:client:auth:user:subscribe"
	nameUserStatusUpdate   = "ds:client:auth:user:status:update"
)

// The `type` of what a client is sent, but for room events, whose type is
// made of the room's name.
const (
	nameConnected    = "ds:server:connection:acknowledged"
	nameAcknowledged = "ds:server:message:acknowledged"
)

// EventAll is the event name that stands for every event of a room, in bind
// and unbind. It is the one name with `$` in front that a client may use.
const EventAll = "$:subscribe:all"

// MessageInfix, PresenceInfix and MetricsInfix stand between `app:room` and
// the event's own name in what the client listens on; the acknowledgements of
// bind, of presence requests and of metrics:unsubscribe hold that whole name.
const (
	MessageInfix  = "::"
	PresenceInfix = ":$:presence:"
	MetricsInfix  = ":$:metrics:"
)

// Type says what a client asks for.
type Type uint8

// The types of request.
const (
	TypeUnknown Type = iota // no such request: answered 501
	TypeRoomCreate
	TypeRoomJoin
	TypeRoomLeave
	TypeBind
	TypeUnbind
	TypePublish
	TypePresenceJoin
	TypePresenceUpdate
	TypePresenceLeave
	TypePresenceGet
	TypePresenceCount
	TypePresenceSubscribe
	TypePresenceUnsubscribe
	TypePresenceUnsubscribeAll
	TypeMetricsUnsubscribe // answered with the name, as if it had been subscribed
	TypeAcknowledgeOnly    // an unsubscribe of something that is out of scope: answered `true`
	TypeNotSupported       // out of scope: answered 501
)

// typeOf returns the type of a decoded name; TypeUnknown for any other text.
func typeOf(name []byte) Type {
	switch string(name) {
	case nameRoomCreate:
		return TypeRoomCreate
	case nameRoomJoin:
		return TypeRoomJoin
	case nameRoomLeave:
		return TypeRoomLeave
	case nameBind:
		return TypeBind
	case nameUnbind:
		return TypeUnbind
	case namePublish:
		return TypePublish
	case namePresenceJoin:
		return TypePresenceJoin
	case namePresenceUpdate:
		return TypePresenceUpdate
	case namePresenceLeave:
		return TypePresenceLeave
	case namePresenceGet:
		return TypePresenceGet
	case namePresenceCount:
		return TypePresenceCount
	case namePresenceSubscribe:
		return TypePresenceSubscribe
	case namePresenceUnsubscribe:
		return TypePresenceUnsubscribe
	case namePresenceUnsubscribeAll:
		return TypePresenceUnsubscribeAll
	case nameMetricsUnsubscribe:
		return TypeMetricsUnsubscribe
	case nameIntellectUnsubscribe, nameIntellectUnsubscribeAll, nameUserUnsubscribe, nameUserUnsubscribeAll:
		return TypeAcknowledgeOnly
	case nameMetricsSubscribe, nameHistoryGet, namePasswordUpdate, nameMemberAdd, nameMemberRemove,
		nameMemberType, nameIntellectSubscribe, nameUserSubscribe, nameUserStatusUpdate:
		return TypeNotSupported
	}
	return TypeUnknown
}

// Op returns the request's word in metrics and logs. The words are a closed
// set: what a client makes up is "unknown".
func (t Type) Op() string {
	switch t {
	case TypeRoomCreate:
		return "room_create"
	case TypeRoomJoin:
		return "room_join"
	case TypeRoomLeave:
		return "room_leave"
	case TypeBind:
		return "subscription_bind"
	case TypeUnbind:
		return "subscription_unbind"
	case TypePublish:
		return "publish"
	case TypePresenceJoin:
		return "presence_join"
	case TypePresenceUpdate:
		return "presence_update"
	case TypePresenceLeave:
		return "presence_leave"
	case TypePresenceGet:
		return "presence_get"
	case TypePresenceCount:
		return "presence_count"
	case TypePresenceSubscribe:
		return "presence_subscribe"
	case TypePresenceUnsubscribe:
		return "presence_unsubscribe"
	case TypePresenceUnsubscribeAll:
		return "presence_unsubscribe_all"
	case TypeMetricsUnsubscribe:
		return "metrics_unsubscribe"
	case TypeAcknowledgeOnly:
		return "acknowledge_only"
	case TypeNotSupported:
		return "not_supported"
	}
	return "unknown"
}

// The classes that [Type.Limited] returns.
const (
	Unlimited     uint8 = iota // never refused for its rate
	LimitRequests              // counted by limits.requests: what writes to a room
	LimitOther                 // counted by limits.other_requests
)

// Limited says which rate limit counts the request. What only takes away
// (leaves, unsubscribes, unbinds) is never limited: a client that is told to
// slow down must still be able to stop.
func (t Type) Limited() (class uint8) {
	switch t {
	case TypeRoomCreate, TypeRoomJoin, TypePublish, TypePresenceUpdate:
		return LimitRequests
	case TypeRoomLeave, TypeUnbind, TypePresenceLeave, TypePresenceUnsubscribe, TypePresenceUnsubscribeAll,
		TypeMetricsUnsubscribe, TypeAcknowledgeOnly:
		return Unlimited
	}
	return LimitOther
}
