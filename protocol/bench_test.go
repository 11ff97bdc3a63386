package protocol

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"presencesets"
)

// update250 is a presence update of 250 bytes, as the public client sends it.
const update250 = `{"type":"ds:client:room:presence:update","body":{"roomId":"fleet","userData":{"registration":"xx12 abc","latitude":52.520008,"longitude":13.404954},"intiatedAt":"2024-07-13T10:13:28.450Z"},"ackId":"172086560845abc","createdAt":"2024-07-13T10:13:28.450Z"}`

func BenchmarkDecodeUpdate(b *testing.B) {
	d, r, msg := NewDecoder(testLimits), Request{}, []byte(update250)
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if err := d.Decode(msg, &r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeFloor is what jsontext takes to check the same message, and
// nothing else: compare with BenchmarkDecodeUpdate of the same run.
func BenchmarkDecodeFloor(b *testing.B) {
	var d jsontext.Decoder
	var source bytes.Buffer
	msg := []byte(update250)
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		source = *bytes.NewBuffer(msg)
		d.Reset(&source)
		if _, err := d.ReadValue(); err != nil {
			b.Fatal(err)
		}
	}
}

func sampleEvent() *presence.Event {
	conn, _ := presence.ParseConnID("0123456789abcdef0123")
	return &presence.Event{
		Kind: presence.KindUpdate, Revision: 1720865608496123, Prev: 1720865608496122, Conn: conn,
		Time: 1720865608496, At: 1720865600000, Client: []byte(`"123"`),
		Data: []byte(`{"registration":"xx12 abc","latitude":52.520008,"longitude":13.404954}`),
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e, dst := sampleEvent(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendEvent(dst[:0], "acme", "fleet", e)
	}
}

func BenchmarkAppendAckText(b *testing.B) {
	ack, dst := []byte(`"172086560845abc"`), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendAckText(dst[:0], ack, "acme", ":", "fleet", PresenceInfix, "update")
	}
}
