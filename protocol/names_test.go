package protocol

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"presencesets"
)

// requests is every request of the protocol, as docs/reference/protocol.md
// lists them.
var requests = []struct {
	name string
	op   string
	rate uint8
}{
	{"ds:client:room:create", "room_create", LimitRequests},
	{"ds:client:room:join", "room_join", LimitRequests},
	{"ds:client:room:leave", "room_leave", Unlimited},
	{"ds:client:room:subscription:bind", "subscription_bind", LimitOther},
	{"ds:client:room:subscription:unbind", "subscription_unbind", Unlimited},
	{"ds:client:publish", "publish", LimitRequests},
	{"ds:client:room:presence:join", "presence_join", LimitOther},
	{"ds:client:room:presence:update", "presence_update", LimitRequests},
	{"ds:client:room:presence:leave", "presence_leave", Unlimited},
	{"ds:client:room:presence:get", "presence_get", LimitOther},
	{"ds:client:room:presence:count", "presence_count", LimitOther},
	{"ds:client:room:presence:subscribe", "presence_subscribe", LimitOther},
	{"ds:client:room:presence:unsubscribe", "presence_unsubscribe", Unlimited},
	{"ds:client:room:presence:unsubscribe:all", "presence_unsubscribe_all", Unlimited},
	{"ds:client:room:metrics:unsubscribe", "metrics_unsubscribe", Unlimited},
	{"ds:client:room:intellect:unsubscribe", "acknowledge_only", Unlimited},
	{"ds:client:room:intellect:unsubscribe:all", "acknowledge_only", Unlimited},
	{"ds:client:auth:user:unsubscribe", "acknowledge_only", Unlimited},
	{"ds:client:auth:user:unsubscribe:all", "acknowledge_only", Unlimited},
	{"ds:client:room:metrics:subscribe", "not_supported", LimitOther},
	{"ds:client:room:history:get", "not_supported", LimitOther},
	{"ds:client:room:password:update", "not_supported", LimitOther},
	{"ds:client:room:member:add", "not_supported", LimitOther},
	{"ds:client:room:member:remove", "not_supported", LimitOther},
	{"ds:client:room:member:type", "not_supported", LimitOther},
	{"ds:client:room:intellect:subscribe", "not_supported", LimitOther},
	{"ds:client:auth:user:subscribe", "not_supported", LimitOther},
	{"ds:client:auth:user:status:update", "not_supported", LimitOther},
	{"ds:client:room", "unknown", LimitOther},
	{"DS:CLIENT:PUBLISH", "unknown", LimitOther},
	{"", "unknown", LimitOther},
}

func TestEveryRequestHasItsOpAndItsRate(t *testing.T) {
	seen := map[Type]bool{}
	for _, want := range requests {
		typ := typeOf([]byte(want.name))
		seen[typ] = true
		if typ.Op() != want.op || typ.Limited() != want.rate {
			t.Errorf("%s: op %s, rate %d; want %s, %d", want.name, typ.Op(), typ.Limited(), want.op, want.rate)
		}
		if !regexp.MustCompile(`^[a-z_]+$`).MatchString(typ.Op()) {
			t.Errorf("%s: op %q is no label", want.name, typ.Op())
		}
	}
	for typ := TypeUnknown; typ <= TypeNotSupported; typ++ {
		if !seen[typ] {
			t.Errorf("type %d (%s) has no request", typ, typ.Op())
		}
	}
	if got := Type(255).Op(); got != "unknown" {
		t.Errorf("a type that does not exist has the op %q", got)
	}
}

// The public client emits our frames by their type on the emitter that it uses
// for its own words.
func TestNoFrameCarriesAWordOfTheClient(t *testing.T) {
	words := []string{
		"connecting", "connect", "connected", "disconnect", "disconnected", "error", "reconnecting", "reconnected", "reconnect",
		"reconnect_failed", "auth_token_expired", "reauthenticating", "connect_error", "connect_failed", "PROTECTED_PASSWORD_REQUIRED",
	}
	ack, conn := []byte(`"a"`), presence.ConnID{}
	event := &presence.Event{Kind: presence.KindJoin, Client: []byte(`"1"`)}
	frames := [][]byte{
		AppendAck(nil, ack, nil),
		AppendAckError(nil, ack, presence.Errorf(presence.CodeInvalid, "x")),
		AppendConnected(nil, &Connected{App: "a", Conn: conn}),
	}
	for _, word := range words {
		name := AppendString(nil, word)
		frames = append(frames, AppendEvent(nil, word, word, event), AppendMessageEvent(nil, word, word, name, false, []byte("{}")),
			AppendMessageEvent(nil, word, word, name, true, []byte("{}")))
	}
	for _, frame := range frames {
		typ := strings.Split(string(frame), `"`)[3]
		if slices.Contains(words, typ) || !strings.Contains(typ, ":") {
			t.Errorf("a frame has the type %q: %s", typ, frame)
		}
	}
	for _, row := range presence.ErrorTable() {
		if row.Name == "PasswordRequiredError" { // makes the client emit such a word
			t.Errorf("the code %s has the name %s", row.Code, row.Name)
		}
	}
}

func TestTheReferencePageHasEveryRequest(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range requests {
		if request.op != "unknown" && !strings.Contains(string(page), "`"+request.name+"`") {
			t.Errorf("docs/reference/protocol.md lacks %s", request.name)
		}
	}
	for _, reason := range presence.Reasons() {
		if !strings.Contains(string(page), "`"+string(reason)+"`") {
			t.Errorf("docs/reference/protocol.md lacks the reason %s", reason)
		}
	}
	// The rates: what stands behind the type in the first table.
	for _, line := range strings.Split(string(page), "\n") {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` ")
		if !ok || !strings.HasPrefix(name, "ds:client:") || strings.Contains(name, "metrics") || strings.Contains(name, "intellect") {
			continue
		}
		want := map[uint8]string{LimitRequests: "*", Unlimited: "−", LimitOther: "|"}[typeOf([]byte(name)).Limited()]
		if !strings.HasPrefix(rest, want) {
			t.Errorf("docs/reference/protocol.md marks %s with %q, want %q", name, rest[:1], want)
		}
	}
}
