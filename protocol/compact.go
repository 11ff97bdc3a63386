package protocol

import (
	"encoding/binary"
	"math/bits"
)

// isSpace holds what JSON calls white space.
func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// compact appends value, which must be valid JSON, to dst without the white
// space between its tokens; every other byte stays as it is.
//
// (jsontext's Value.Compact is not used: it parses a second time, and what it
// keeps of numbers and escapes is a matter of its options and its version.)
func compact(dst, value []byte) []byte {
	for i := 0; i < len(value); {
		switch c := value[i]; {
		case c == '"':
			end, _ := stringEnd(value, i)
			dst = append(dst, value[i:end]...)
			i = end
		case isSpace(c):
			i++
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// stringEnd returns the place behind the JSON string that begins at b[i], a
// quote, which is behind the end of b when the string does not end; and whether
// there are escapes in it.
//
// Strings are most of a message, and most of them are too short for
// bytes.IndexByte to pay: it looks at eight bytes at a step.
func stringEnd(b []byte, i int) (end int, escaped bool) {
	for i++; ; {
		for i+8 <= len(b) {
			word := binary.LittleEndian.Uint64(b[i:])
			if found := bytesOf(word, '"') | bytesOf(word, '\\'); found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		switch {
		case i >= len(b):
			return len(b) + 1, escaped
		case b[i] == '"':
			return i + 1, escaped
		case b[i] == '\\':
			escaped = true
			i++ // what is escaped ends nothing
		}
		i++
	}
}

// bytesOf sets the top bit of each byte of word that is c, and perhaps of bytes
// above the lowest of those.
func bytesOf(word uint64, c byte) uint64 {
	const ones = 0x0101010101010101
	word ^= ones * uint64(c) // what was c is 0
	return (word - ones) & ^word & (ones << 7)
}
