package main

import "testing"

func TestBothKindsOfReportAreCounted(t *testing.T) {
	for _, c := range []struct {
		name, report string
		want         counts
	}{
		{"vitest", `{"numTotalTests":5,"numPassedTests":3,"numFailedTests":1,"numPendingTests":1}`, counts{3, 1, 1}},
		{"vitest, a file that does not load", `{"numTotalTests":0,"numFailedTestSuites":1}`, counts{0, 1, 0}},
		{"go", `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"Action":"pass","Package":"q"}`, counts{1, 1, 1}},
		{"go, a package that does not build", `{"Action":"fail","Package":"p"}`, counts{0, 1, 0}},
	} {
		got, err := read([]byte(c.report))
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func TestAnotherFileIsAnError(t *testing.T) {
	if _, err := read([]byte("ok")); err == nil {
		t.Error("no error")
	}
}
