package protocol

import (
	"testing"

	"presencesets"
)

// testLimits are the defaults of the settings.
var testLimits = Limits{Message: 65536, Data: 16384, Depth: 32, RoomName: 255, EventName: 255}

// decoded is a Request with text in place of bytes, for comparing.
type decoded struct {
	Type       Type
	AckID      string
	Room       string
	Event      string
	Data       string
	Limit      int
	Visibility string
	Password   bool
	Malformed  bool
}

func decode(t testing.TB, msg string) (decoded, *presence.Error) {
	t.Helper()
	var r Request
	err := NewDecoder(testLimits).Decode([]byte(msg), &r)
	return decoded{r.Type, string(r.AckID), string(r.Room), string(r.Event), string(r.Data), r.Limit,
		string(r.Visibility), r.Password, r.Malformed}, err
}

func TestRequestsOfThePublicClientAreRead(t *testing.T) {
	for _, test := range []struct {
		msg  string
		want decoded
	}{
		{`{"type":"ds:client:room:presence:join",
		 "body":{"roomId":"myRoom","userData":{"username":"Bob"},"intiatedAt":"2024-07-13T10:13:28.450Z"},
		 "ackId":"1720865608450k3j9x0a2b","createdAt":"2024-07-13T10:13:28.450Z"}`,
			decoded{Type: TypePresenceJoin, AckID: `"1720865608450k3j9x0a2b"`, Room: "myRoom", Data: `{"username":"Bob"}`, Limit: -1}},
		{`{"type":"ds:client:room:presence:get","body":{"roomId":"myRoom","limit":50},"ackId":"a"}`,
			decoded{Type: TypePresenceGet, AckID: `"a"`, Room: "myRoom", Limit: 50}},
		{`{"type":"ds:client:room:subscription:bind","body":{"roomId":"r","event":"$:subscribe:all"},"ackId":"a"}`,
			decoded{Type: TypeBind, AckID: `"a"`, Room: "r", Event: EventAll, Limit: -1}},
		{`{"type":"ds:client:room:subscription:unbind","body":{"roomId":"r"},"ackId":"a"}`,
			decoded{Type: TypeUnbind, AckID: `"a"`, Room: "r", Limit: -1}},
		{`{"type":"ds:client:publish","body":{"roomId":"r","event":"message","data":[1, 2],"uuid":"u","opts":{"transient":true}},"ackId":"a"}`,
			decoded{Type: TypePublish, AckID: `"a"`, Room: "r", Event: "message", Data: `[1,2]`, Limit: -1}},
		{`{"type":"ds:client:room:create","body":{"roomId":"r","visibility":"public","password":"x"},"ackId":"a"}`,
			decoded{Type: TypeRoomCreate, AckID: `"a"`, Room: "r", Visibility: "public", Password: true, Limit: -1}},
		{`{"type":"ds:client:room:metrics:unsubscribe","body":{"roomId":"r","event":"all"},"ackId":"a"}`,
			decoded{Type: TypeMetricsUnsubscribe, AckID: `"a"`, Room: "r", Event: "all", Limit: -1}},
	} {
		got, err := decode(t, test.msg)
		if err != nil {
			t.Errorf("Decode(%s): %v", test.msg, err)
		}
		if got != test.want {
			t.Errorf("Decode(%s)\n got %+v\nwant %+v", test.msg, got, test.want)
		}
	}
}
