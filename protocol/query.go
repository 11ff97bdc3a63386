package protocol

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"presencesets"
)

// Query is what a client says in the URL that it connects with. An empty
// string is a parameter that is absent.
type Query struct {
	APIKey       string // appId.keyId:secret, or with a dot before the secret
	ClientID     string // valid UTF-8
	ConnectionID string // at a reconnect, of the form appId:20 hex digits
	Token        string
	Features     string // words separated by commas
	ResumeSecret string // at a reconnect: what the first frame granted
}

// ParseQuery reads what stands behind the `?` of a URL. Unknown parameters and
// those that cannot be decoded are ignored, of a repeated one the first
// counts. A client that has no value may send `undefined`, `null` or nothing:
// all three are absent.
//
// It returns a ValidationError for a clientId that is longer than clientIDLimit
// bytes (0: no bound) or not UTF-8, and for a connectionId that cannot be one.
func ParseQuery(rawQuery string, clientIDLimit int) (Query, *presence.Error) {
	var q Query
	for rest := rawQuery; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		name, value, _ := strings.Cut(pair, "=")
		field := q.field(name)
		if field == nil || *field != "" {
			continue
		}
		text, err := url.QueryUnescape(value)
		if err != nil || text == "undefined" || text == "null" {
			continue
		}
		*field = text
	}
	switch {
	case !utf8.ValidString(q.ClientID):
		return q, invalid("clientId", "clientId is not UTF-8")
	case clientIDLimit > 0 && len(q.ClientID) > clientIDLimit:
		return q, presence.Errorf(presence.CodeInvalid, "clientId is %s bytes; the limit is %s",
			count(len(q.ClientID)), count(clientIDLimit)).WithField("clientId").WithLimit(int64(clientIDLimit))
	}
	if q.ConnectionID != "" {
		if _, _, ok := SplitConnectionID(q.ConnectionID); !ok {
			return q, invalid("connectionId", "connectionId is not of the form appId:20 hex digits")
		}
	}
	return q, nil
}

// field returns where the parameter of that name goes, nil for an unknown one.
func (q *Query) field(name string) *string {
	switch text, _ := url.QueryUnescape(name); text {
	case "apiKey":
		return &q.APIKey
	case "clientId":
		return &q.ClientID
	case "connectionId":
		return &q.ConnectionID
	case "token":
		return &q.Token
	case "features":
		return &q.Features
	case "resumeSecret":
		return &q.ResumeSecret
	}
	return nil
}

// HasFeature reports whether the client asked for a feature by its word.
func (q *Query) HasFeature(word string) bool {
	for feature := range strings.SplitSeq(q.Features, ",") {
		if feature == word {
			return true
		}
	}
	return false
}

// SplitConnectionID reads the public form of a connection id, app:20 hex digits.
func SplitConnectionID(text string) (app string, conn presence.ConnID, ok bool) {
	app, digits, ok := strings.Cut(text, ":")
	if !ok || app == "" {
		return "", conn, false
	}
	conn, ok = presence.ParseConnID(digits)
	return app, conn, ok
}
