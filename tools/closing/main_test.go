package main

import (
	"strings"
	"testing"
)

func TestTestsAndPackagesAreCounted(t *testing.T) {
	for _, c := range []struct {
		name, report string
		want         counts
	}{
		{"tests of each kind", `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"Action":"pass","Package":"q"}`, counts{1, 1, 1}},
		{"a package that does not build", `{"Action":"fail","Package":"p"}`, counts{0, 1, 0}},
		{"nothing", "", counts{}},
	} {
		got, err := read(strings.NewReader(c.report))
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestAnotherFileIsAnError(t *testing.T) {
	if _, err := read(strings.NewReader("ok")); err == nil {
		t.Error("no error")
	}
}
