package main

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the generated page and the scripts' golden output")

// TestMain lets the scripts call this test binary by the name of the program.
func TestMain(m *testing.M) {
	testscript.Main(leakTested{m}, map[string]func(){"presence": main})
}

type leakTested struct{ *testing.M }

func (m leakTested) Run() int {
	code := m.M.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}
