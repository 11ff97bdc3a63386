// Command closing turns the lines of `go test -json` into one plain closing
// line, of the form that the SDK's tests and the page's print as well, and
// fails when a test failed or none ran.
//
//	go run ./closing NAME FILE     go: 941 passed, 0 failed, 1 skipped
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	if len(os.Args) != 3 {
		fatal(errors.New("usage: closing NAME FILE"))
	}
	f, err := os.Open(os.Args[2])
	if err != nil {
		fatal(err)
	}
	defer f.Close()
	c, err := read(f)
	if err != nil {
		fatal(fmt.Errorf("%s: %w", os.Args[2], err))
	}
	fmt.Printf("%s: %v\n", os.Args[1], c)
	if c.failed > 0 || c.passed == 0 {
		os.Exit(1)
	}
}

// read counts tests and subtests that ran, and packages that failed without a
// failing test (a build error, a panic, a race outside a test).
func read(report io.Reader) (counts, error) {
	var c counts
	failures := map[string]int{}
	lines := bufio.NewScanner(report)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e struct{ Action, Package, Test string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return c, fmt.Errorf("not of go test -json: %w", err)
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
