package protocol

import "bytes"

// isSpace holds what JSON calls white space.
func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// compact returns value, which must be valid JSON, without the white space
// between its tokens; every other byte stays as it is. Without any it returns
// value itself, else a slice of scratch, which it also returns, grown.
//
// (jsontext's Value.Compact is not used: it parses a second time, and what it
// keeps of numbers and escapes is a matter of its options and its version.)
func compact(value, scratch []byte) (compacted, _ []byte) {
	first := firstSpace(value)
	if first < 0 {
		return value, scratch
	}
	scratch = append(scratch[:0], value[:first]...)
	for i := first; i < len(value); {
		switch c := value[i]; {
		case c == '"':
			end := stringEnd(value, i)
			scratch = append(scratch, value[i:end]...)
			i = end
		case isSpace(c):
			i++
		default:
			scratch = append(scratch, c)
			i++
		}
	}
	return scratch, scratch
}

// firstSpace returns where white space first stands between tokens of value,
// valid JSON; -1 when it nowhere does. Most data has none, and much of it no
// space in its strings either: then four searches, many bytes at a step, are
// all that it costs.
func firstSpace(value []byte) int {
	// A raw line break or tab cannot stand in a string.
	if bytes.IndexByte(value, ' ') < 0 && bytes.IndexByte(value, '\n') < 0 &&
		bytes.IndexByte(value, '\t') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return -1
	}
	for i := 0; i < len(value); {
		switch c := value[i]; {
		case c == '"':
			i = stringEnd(value, i)
		case isSpace(c):
			return i
		default:
			i++
		}
	}
	return -1
}

// stringEnd returns the place behind the JSON string that begins at b[i], a
// quote; len(b) + 1 when it does not end.
func stringEnd(b []byte, i int) int {
	for i++; ; {
		n := bytes.IndexByte(b[min(i, len(b)):], '"')
		if n < 0 {
			return len(b) + 1
		}
		i += n + 1
		// The quote ends the string unless an odd number of backslashes is before it.
		back := i - 2
		for back >= 0 && b[back] == '\\' {
			back--
		}
		if (i-2-back)%2 == 0 {
			return i
		}
	}
}
