package main

import (
	"strings"
	"testing"
	"time"
)

func TestValuesAreReadWithTheirUnits(t *testing.T) {
	for _, test := range []struct {
		kind  string
		raw   any
		want  string // as it is written again
		fault string
	}{
		{"time", "10s", "10s", ""},
		{"time", "1h30m", "1h30m", ""},
		{"time", "90s", "1m30s", ""},
		{"time", "120s", "2m", ""},
		{"time", "60m", "1h", ""},
		{"time", "0", "0s", ""},
		{"time", 0, "0s", ""},
		{"time", 500, "", `"500" has no unit`},
		{"time", "-1s", "", `"-1s" is negative`},
		{"time", "soon", "", `"soon" is no time`},
		{"size", "64KiB", "64KiB", ""},
		{"size", "65536B", "64KiB", ""},
		{"size", "1 MiB", "1MiB", ""},
		{"size", "1500B", "1500B", ""},
		{"size", "0", "0B", ""},
		{"size", "1GiB", "1GiB", ""},
		{"size", "2GiB", "", "is no size from 0B to"},
		{"size", "-1B", "", "is no size from 0B to"},
		{"size", "64KB", "", `"64KB" is no size; want such as 512B, 64KiB`},
		{"size", 64, "", `"64" has no unit`},
		{"size", "much", "", `"much" is no size`},
		{"rate", "30/5s", "30/5s", ""},
		{"rate", "0", "0", ""},
		{"rate", 30, "", `"30" is no rate`},
		{"rate", "0/5s", "", `"0" is no number of requests`},
		{"rate", "x/5s", "", `"x" is no number of requests`},
		{"rate", "30/0s", "", `"0s" is no time`},
		{"rate", "30/5", "", `"5" is no time`},
		{"number", "12", "12", ""},
		{"number", 12, "12", ""},
		{"number", "-1", "", "is no whole number"},
		{"number", 1.5, "", "is no whole number"},
		{"switch", true, "true", ""},
		{"switch", "no", "false", ""},
		{"switch", "On", "true", ""},
		{"switch", "perhaps", "", "neither true nor false"},
		{"text", " a ", "a", ""},
		{"text", 7, "7", ""},
		{"text", []any{"a"}, "", "is not one value; want a text"},
		{"time", map[string]any{"a": 1}, "", "is not one value; want a time"},
		{"list", "a, b,,c", "a,b,c", ""},
		{"list", []any{"a", "b"}, "a,b", ""},
		{"list", []any{1}, "", "has an entry that is no text"},
		{"list", 5, "", "is no list"},
	} {
		to := map[string]any{
			"time": new(time.Duration), "size": new(size), "rate": new(rate), "number": new(int),
			"switch": new(bool), "text": new(string), "list": new([]string),
		}[test.kind]
		if got := kind(to); got != test.kind {
			t.Fatalf("kind(%T) = %s, want %s", to, got, test.kind)
		}
		err := setValue(to, test.raw)
		switch {
		case test.fault == "" && err != nil:
			t.Errorf("%s %v: %v", test.kind, test.raw, err)
		case test.fault == "" && formatValue(to) != test.want:
			t.Errorf("%s %v: got %s, want %s", test.kind, test.raw, formatValue(to), test.want)
		case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
			t.Errorf("%s %v: got error %v, want %q", test.kind, test.raw, err, test.fault)
		}
	}
}

// A value that is written and read again is the same, whatever was typed.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"10s", "1h0m3s", "64KiB", "2147483647B", "30/5s", "0", "true", "a,b", "-1", "1e9", "9999999999999999h", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, pair := range [][2]any{
			{new(time.Duration), new(time.Duration)},
			{new(size), new(size)},
			{new(rate), new(rate)},
			{new(int), new(int)},
			{new(bool), new(bool)},
			{new(string), new(string)},
			{new([]string), new([]string)},
		} {
			if setValue(pair[0], s) != nil {
				continue
			}
			text := formatValue(pair[0])
			if err := setValue(pair[1], text); err != nil {
				t.Fatalf("%T: %q was written as %q, which is refused: %v", pair[0], s, text, err)
			}
			if again := formatValue(pair[1]); again != text {
				t.Fatalf("%T: %q was written as %q and then as %q", pair[0], s, text, again)
			}
		}
	})
}
