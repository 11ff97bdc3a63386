// Command vulngate reads what govulncheck found (-format json, which exits 0
// whatever it finds) and decides: a finding in a module whose code we call
// fails; one in the standard library is printed with the Go version that mends
// it, because the build takes the Go that the machine has.
//
//	go run ./vulngate FILE
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// finding is the part of govulncheck's message that decides. The first frame
// of a trace is the vulnerable symbol; without a function it is only
// imported or required, not called.
type finding struct {
	OSV          string `json:"osv"`
	FixedVersion string `json:"fixed_version"`
	Trace        []struct {
		Module   string `json:"module"`
		Version  string `json:"version"`
		Function string `json:"function"`
	} `json:"trace"`
}

func main() {
	if len(os.Args) != 2 {
		fatal(errors.New("usage: vulngate FILE"))
	}
	f, err := os.Open(os.Args[1])
	if err != nil {
		fatal(err)
	}
	defer f.Close()
	modules, stdlib, err := read(f)
	if err != nil {
		fatal(fmt.Errorf("%s: %w", os.Args[1], err))
	}
	for _, line := range stdlib {
		fmt.Println("standard library, mended by a newer Go:", line)
	}
	for _, line := range modules {
		fmt.Println("module:", line)
	}
	fmt.Printf("vulnerabilities called: %d in modules, %d in the standard library\n", len(modules), len(stdlib))
	if len(modules) > 0 {
		os.Exit(1)
	}
}

// read sorts the called findings of the stream into those of modules and
// those of the standard library, each once.
func read(r io.Reader) (modules, stdlib []string, err error) {
	messages := 0
	for dec := json.NewDecoder(r); ; messages++ {
		var m struct {
			Finding *finding `json:"finding"`
		}
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, err
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 || m.Finding.Trace[0].Function == "" {
			continue
		}
		at := m.Finding.Trace[0]
		line := fmt.Sprintf("%s in %s %s, fixed in %s", m.Finding.OSV, at.Module, at.Version, m.Finding.FixedVersion)
		if at.Module == "stdlib" {
			stdlib = append(stdlib, line)
		} else {
			modules = append(modules, line)
		}
	}
	if messages == 0 {
		return nil, nil, errors.New("holds no message of govulncheck")
	}
	slices.Sort(modules)
	slices.Sort(stdlib)
	return slices.Compact(modules), slices.Compact(stdlib), nil
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "vulngate:", err)
	os.Exit(2)
}
