package protocol

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTheQueryOfAConnect(t *testing.T) {
	for _, test := range []struct {
		raw  string
		want Query
	}{
		{"", Query{}},
		{"apiKey=acme.web1%3Asecret&clientId=123", Query{APIKey: "acme.web1:secret", ClientID: "123"}},
		{"apiKey=acme.web1.secret", Query{APIKey: "acme.web1.secret"}},
		{"token=a.b.c&expiresIn=900&expiresAt=1&whatever=x&clientId=no%20more", Query{Token: "a.b.c", ClientID: "no more"}},
		{"clientId=a+b&features=resume,x", Query{ClientID: "a b", Features: "resume,x"}},
		{"clientId=Zo%C3%AB%F0%9F%98%80", Query{ClientID: "Zoë😀"}},
		{"connectionId=acme%3A0123456789abcdef0123&apiKey=k", Query{APIKey: "k", ConnectionID: "acme:0123456789abcdef0123"}},
		// What stands for nothing.
		{"apiKey=undefined&clientId=null&connectionId=&token", Query{}},
		{"clientId=undefined&clientId=x", Query{ClientID: "x"}},
		{"connectionId=undefined", Query{}},
		// The first counts; what cannot be decoded, or is not ours, does not.
		{"clientId=a&clientId=b", Query{ClientID: "a"}},
		{"%zz=1&clientId=%zz&clientId=b&&=&=x&x", Query{ClientID: "b"}},
		{"clientid=a&CLIENTID=b&client%49d=c", Query{ClientID: "c"}},
		{"clientId=a=b;c", Query{ClientID: "a=b;c"}},
	} {
		got, err := ParseQuery(test.raw, 128)
		if err != nil || got != test.want {
			t.Errorf("ParseQuery(%q)\n got %+v, %v\nwant %+v", test.raw, got, err, test.want)
		}
	}
}

func TestWhatAConnectMayNotSay(t *testing.T) {
	for _, test := range []struct {
		raw, field string
		limit      int64
	}{
		{"clientId=" + strings.Repeat("x", 129), "clientId", 128},
		{"clientId=" + strings.Repeat("%C3%AB", 65), "clientId", 128},
		{"clientId=%FF", "clientId", 0},
		{"connectionId=acme:Zk3xQ0r9bWvA", "connectionId", 0},
		{"connectionId=0123456789abcdef0123", "connectionId", 0},
		{"connectionId=:0123456789abcdef0123", "connectionId", 0},
		{"connectionId=acme:0123456789ABCDEF0123", "connectionId", 0},
		{"connectionId=acme:0123456789abcdef0123x", "connectionId", 0},
		{"connectionId=acme:x:0123456789abcdef0123", "connectionId", 0},
	} {
		_, err := ParseQuery(test.raw, 128)
		if err == nil || err.Status != 400 || err.Field != test.field || err.Limit != test.limit {
			t.Errorf("ParseQuery(%q): %+v; want a ValidationError, field %q, limit %d", test.raw, err, test.field, test.limit)
		}
	}
	for _, raw := range []string{"clientId=" + strings.Repeat("x", 128), "clientId=" + strings.Repeat("%C3%AB", 64)} {
		if _, err := ParseQuery(raw, 128); err != nil {
			t.Errorf("ParseQuery(%q): %v", raw, err)
		}
	}
	if _, err := ParseQuery("clientId="+strings.Repeat("x", 10000), 0); err != nil {
		t.Errorf("no limit, and yet: %v", err)
	}
}

func FuzzQuery(f *testing.F) {
	for _, raw := range []string{
		"", "apiKey=acme.web1%3Asecret&clientId=123", "connectionId=acme%3A0123456789abcdef0123&token=a.b.c",
		"clientId=%FF", "a=b&&=%zz&clientId=undefined&features=resume,x", "client%49d=+",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := ParseQuery(raw, 128)
		if err != nil {
			if err.Status != 400 || err.Field == "" || len(AppendHTTPError(nil, err)) == 0 {
				t.Fatalf("ParseQuery(%q): %+v", raw, err)
			}
			return
		}
		for _, value := range []string{q.APIKey, q.ClientID, q.ConnectionID, q.Token, q.Features} {
			if value == "undefined" || value == "null" || len(value) > len(raw) {
				t.Fatalf("ParseQuery(%q): a value of %q", raw, value)
			}
		}
		if !utf8.ValidString(q.ClientID) || len(q.ClientID) > 128 {
			t.Fatalf("ParseQuery(%q): clientId %q", raw, q.ClientID)
		}
		if q.ConnectionID != "" {
			if app, conn, ok := SplitConnectionID(q.ConnectionID); !ok || string(appendConnection(nil, app, conn)) != q.ConnectionID {
				t.Fatalf("ParseQuery(%q): connectionId %q", raw, q.ConnectionID)
			}
		}
	})
}
