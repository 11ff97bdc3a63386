package main

import (
	"strings"
	"testing"
)

func TestOnlyCalledFindingsCountAndEachOnce(t *testing.T) {
	const stream = `{"config":{}}
{"finding":{"osv":"GO-1","fixed_version":"v1.2.3","trace":[{"module":"example.com/m","version":"v1.2.2"}]}}
{"finding":{"osv":"GO-1","fixed_version":"v1.2.3","trace":[{"module":"example.com/m","version":"v1.2.2","function":"F"}]}}
{"finding":{"osv":"GO-1","fixed_version":"v1.2.3","trace":[{"module":"example.com/m","version":"v1.2.2","function":"G"}]}}
{"finding":{"osv":"GO-2","fixed_version":"v1.26.9","trace":[{"module":"stdlib","version":"v1.26.8","function":"H"}]}}`
	modules, stdlib, err := read(strings.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if want := "GO-1 in example.com/m v1.2.2, fixed in v1.2.3"; len(modules) != 1 || modules[0] != want {
		t.Errorf("modules: got %q, want only %q", modules, want)
	}
	if want := "GO-2 in stdlib v1.26.8, fixed in v1.26.9"; len(stdlib) != 1 || stdlib[0] != want {
		t.Errorf("standard library: got %q, want only %q", stdlib, want)
	}
}

func TestAnEmptyOrBrokenStreamIsAnError(t *testing.T) {
	for _, stream := range []string{"", `{"finding":`} {
		if _, _, err := read(strings.NewReader(stream)); err == nil {
			t.Errorf("read(%q) gave no error", stream)
		}
	}
}
