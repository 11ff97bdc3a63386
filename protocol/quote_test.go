package protocol

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func FuzzQuote(f *testing.F) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, text := range []string{"", "plain", `"\`, "é😀\u2028\ufffd", "\xff\xfe", "\xed\xa0\x80", "a\xc3", "\xf0\x9f\x98", string(all)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, _ := jsontext.AppendQuote(nil, text) // the error tells of bytes that it replaced
		if got := AppendString([]byte("x"), text); string(got[1:]) != string(want) {
			t.Errorf("AppendString(%q): %s, want %s", text, got[1:], want)
		}
		if got := AppendString(nil, []byte(text)); string(got) != string(want) {
			t.Errorf("AppendString of the bytes of %q: %s, want %s", text, got, want)
		}
	})
}
