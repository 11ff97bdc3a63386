// Command closing turns a test runner's report into one plain closing line a
// suite, the same for Go and JavaScript, and fails when a test failed or none
// ran (vitest exits 0 when a filter matches nothing).
//
//	go run ./closing NAME FILE...     sdk: 41 passed, 0 failed, 1 skipped
//
// FILE is vitest's JSON report or the lines of `go test -json`.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// counts is what a closing line says.
type counts struct{ passed, failed, skipped int }

func (c counts) String() string {
	s := fmt.Sprintf("%d passed, %d failed", c.passed, c.failed)
	if c.skipped > 0 {
		s += fmt.Sprintf(", %d skipped", c.skipped)
	}
	return s
}

func main() {
	if len(os.Args) < 3 {
		fatal(errors.New("usage: closing NAME FILE"))
	}
	var sum counts
	for _, name := range os.Args[2:] {
		report, err := os.ReadFile(name)
		if err != nil {
			fatal(err)
		}
		c, err := read(report)
		if err != nil {
			fatal(fmt.Errorf("%s: %w", name, err))
		}
		sum.passed += c.passed
		sum.failed += c.failed
		sum.skipped += c.skipped
	}
	fmt.Printf("%s: %v\n", os.Args[1], sum)
	if sum.failed > 0 || sum.passed == 0 {
		os.Exit(1)
	}
}

// read counts the tests of one report, whichever of the two kinds it is.
func read(report []byte) (counts, error) {
	var v struct {
		Total   *int `json:"numTotalTests"`
		Passed  int  `json:"numPassedTests"`
		Failed  int  `json:"numFailedTests"`
		Suites  int  `json:"numFailedTestSuites"`
		Pending int  `json:"numPendingTests"`
		Todo    int  `json:"numTodoTests"`
	}
	if json.Unmarshal(report, &v) == nil && v.Total != nil {
		if v.Failed == 0 {
			v.Failed = v.Suites // a file that could not be loaded has no test to fail
		}
		return counts{v.Passed, v.Failed, v.Pending + v.Todo}, nil
	}
	return readGo(report)
}

// readGo counts tests and subtests that ran, and packages that failed without
// a failing test (a build error, a panic, a race outside a test).
func readGo(report []byte) (counts, error) {
	var c counts
	failures := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(report))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e struct{ Action, Package, Test string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return c, fmt.Errorf("neither vitest's report nor go test -json: %w", err)
		}
		switch {
		case e.Action == "pass" && e.Test != "":
			c.passed++
		case e.Action == "skip" && e.Test != "":
			c.skipped++
		case e.Action == "fail" && e.Test != "":
			c.failed++
			failures[e.Package]++
		case e.Action == "fail" && failures[e.Package] == 0:
			c.failed++
		}
	}
	return c, lines.Err()
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "closing:", err)
	os.Exit(2)
}
