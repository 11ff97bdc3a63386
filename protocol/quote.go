package protocol

import (
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendString appends text as a JSON string, escaping no more than JSON asks
// for. Bytes that are not UTF-8 become U+FFFD.
func AppendString[T ~string | ~[]byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, text)
	return append(dst, '"')
}

// appendEscaped appends what stands between the quotes.
func appendEscaped[T ~string | ~[]byte](dst []byte, text T) []byte {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendEscapedSlowly(dst, text)
		}
	}
	return append(dst, text...)
}

// appendEscapedSlowly is for text that may need escapes.
func appendEscapedSlowly[T ~string | ~[]byte](dst []byte, text T) []byte {
	start := len(dst)
	dst, _ = jsontext.AppendQuote(dst, text) // the error tells of bytes that it replaced
	n := copy(dst[start:], dst[start+1:len(dst)-1])
	return dst[:start+n]
}
