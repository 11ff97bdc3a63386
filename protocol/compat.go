package protocol

import "strings"

// Style is the form of a room join's acknowledgement. Clients up to
// 2024-11-23 (tag 2.12.0, commit c835687 is the change) want the text
// app:room, later ones an object, and with the wrong one a client listens on
// names that do not exist. Nothing that a client sends tells which it is, so
// the path of the URL does, and where that leaves it open the app's setting.
type Style uint8

// The styles.
const (
	StyleDefault Style = iota // what the app says, else StyleObject
	StyleObject
	StyleText
)

// The paths of the websocket.
const (
	PathCore   = "/core"
	PathCoreV1 = "/core/v1"
)

// StyleOfPath returns the style that a URL's path asks for; ok is false when
// the path is none of a websocket. One slash at its end is allowed.
func StyleOfPath(path string) (style Style, ok bool) {
	switch strings.TrimSuffix(path, "/") {
	case PathCore:
		return StyleDefault, true
	case PathCoreV1:
		return StyleText, true
	}
	return StyleDefault, false
}

// ParseStyle reads the setting of an app: "object", "text" or, for the
// default, "".
func ParseStyle(word string) (style Style, ok bool) {
	switch word {
	case "":
		return StyleDefault, true
	case "object":
		return StyleObject, true
	case "text":
		return StyleText, true
	}
	return StyleDefault, false
}

// Or returns s, or the app's style where s leaves it open.
func (s Style) Or(app Style) Style {
	switch {
	case s != StyleDefault:
		return s
	case app != StyleDefault:
		return app
	}
	return StyleObject
}
