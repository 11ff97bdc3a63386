package protocol

import (
	"math"
	"strings"
	"testing"
)

func TestAnAckIDIsFoundInWhatIsNoJSON(t *testing.T) {
	for _, test := range []struct{ msg, want string }{
		{`{"type":"t","ackId":"a"}`, `"a"`},
		{`{"ackId" : "a", broken`, `"a"`},
		{`{"body":{"ackId":"inner"},"ackId":"outer"}`, `"outer"`},
		{`{"body":{"ackId":"inner"}}`, ``},              // brackets add up: the outer object has none
		{`{"body":{"userData":[1,,"ackId":"a"}`, `"a"`}, // they do not: the last one is taken
		{`{"body":{"a":[1,},"ackId":"a"}`, `"a"`},
		{`{"body":}},"ackId":"a"}`, `"a"`},
		{`{"type":"x,"body":{},"ackId":"a"}`, `"a"`},      // quotes the wrong way round from there on
		{`{"body":{"userData":"\"ackId\":\"no\""}`, ``},   // in a string its quotes are escaped
		{`{"ackId":"first","ackId":"second"}`, `"first"`}, // a name twice
		{`{"ackId":5,"ackId":"second"}`, `"second"`},
		{`{"ackId":5}`, ``},
		{`{"ackId":"cut off`, ``},
		{`{"ackId":"cut off\`, ``},
		{`{"ackId":"cut off\"`, ``},
		{`{"ackId":"bad \x escape"}`, ``},
		{"{\"ackId\":\"bad \xff UTF-8\"}", ``},
		{"{\"ackId\":\"a raw\nline break\"}", ``},
		{`{"ackId":"lone \ud83d surrogate"}`, ``},
		{`{"ackId"`, ``},
		{`{"ackId":`, ``},
		{`{"ackId" "a"`, ``},
		{`"ackId"`, ``},
		{``, ``},
		{`{`, ``},
		{`"`, ``},
		{`\`, ``},
		{`["ackId","a"]`, ``},
		{`{"x":"ackId","y":"a"`, ``},
		{strings.Repeat(`{"ackId":"`, 10), `"{"`},
		{strings.Repeat(`[`, 1<<17) + `"ackId":"a"`, `"a"`},
	} {
		if got := skim([]byte(test.msg), math.MaxInt).ackID; string(got) != test.want {
			t.Errorf("skim(%.80s): ackId %s, want %s", test.msg, got, test.want)
		}
	}
}

// Messages made to be looked at again and again: were the cost more than
// linear, this would not end.
func TestSkimmingIsLinear(t *testing.T) {
	const size = 256 << 10
	for _, part := range []string{`"ackId"`, `"ackId":`, `"ackId":"`, `"ackId":"\`, `"ackId" : `, `"ackId":"\"`, `\`, `"`, `{`, `{"ackId":"`, `"\\`} {
		skim([]byte(strings.Repeat(part, size/len(part))), 32)
		skim([]byte(`{`+strings.Repeat(part, size/len(part))), math.MaxInt)
	}
}
