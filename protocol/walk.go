package protocol

import "github.com/go-json-experiment/json/jsontext"

// walker goes over an object that has been found valid and hands out names and
// values as they stand there. It checks nothing, and on anything but valid JSON
// its answers mean nothing.
//
// It is why a message is parsed by one call: asking jsontext for each name and
// value costs half as much again as letting it check the whole and looking then.
type walker struct {
	b []byte
	i int // begins at the object's brace

	decoded []byte // scratch of the last name with escapes
}

// next goes to the next member. Behind the last one it returns false and stands
// behind the object. Each member's value must be taken: with value, or, when it
// is an object, by next until that returns false.
//
// name is the text of the member's name, until the next call.
func (w *walker) next() (name []byte, ok bool) {
	b := w.b
	i := skipSpace(b, w.i)
	closed := b[i] == '}' // else a comma, or the brace at the begin
	i = skipSpace(b, i+1)
	if closed {
		w.i = i
		return nil, false
	}
	if b[i] == '}' {
		w.i = i + 1
		return nil, false
	}
	end, escaped := stringEnd(b, i)
	w.i = skipSpace(b, skipSpace(b, end)+len(`:`))
	if escaped {
		w.decoded, _ = jsontext.AppendUnquote(w.decoded[:0], b[i:end]) // valid: it has been parsed
		return w.decoded, true
	}
	return b[i+1 : end-1], true
}

// value takes the value that the walker stands at. spaced is whether there is
// white space between tokens in it.
func (w *walker) value() (value []byte, spaced bool) {
	b, start, i := w.b, w.i, w.i
	switch b[i] {
	case '"':
		i, _ = stringEnd(b, i)
	case '{', '[':
	composite:
		for level := 0; ; {
			c := b[i]
			if c == '"' {
				i, _ = stringEnd(b, i)
				continue
			}
			i++
			if c == '{' || c == '[' {
				level++
			} else if c == '}' || c == ']' {
				if level--; level == 0 {
					break composite
				}
			} else if isSpace(c) {
				spaced = true
			}
		}
	default: // a number or a word: up to what cannot be part of it
		for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && !isSpace(b[i]) {
			i++
		}
	}
	w.i = i
	return b[start:i:i], spaced
}
