package bench

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRatioIsTakenRoundByRound(t *testing.T) {
	// A busy second round doubles both: the ratio does not move.
	r := Row{Ours: []float64{11, 22, 11}, Floor: []float64{10, 20, 10}}
	if got := r.Ratio(); math.Abs(got-1.1) > 1e-9 {
		t.Errorf("got %v, want 1.1", got)
	}
	if !math.IsNaN((Row{Ours: []float64{1}}).Ratio()) {
		t.Error("a row without a floor has a ratio")
	}
	if got := Median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of 1 to 4: got %v, want 2.5", got)
	}
}

func TestTableSaysWhetherAnAimIsMet(t *testing.T) {
	var out strings.Builder
	err := Print(&out, []Row{
		{Case: "echo", Unit: "µs", Ours: []float64{6}, Floor: []float64{5}, Aim: 1.25},
		{Case: "delivery", Unit: "µs", Ours: []float64{6}, Floor: []float64{4}, Aim: 1.2},
		{Case: "memory", Unit: "B", Ours: []float64{420}, Aim: 400},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"≤ × 1.25: met", "≤ × 1.2: missed", "≤ 400: missed", "420", "1.50"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestMarkdownIsTheTableOfThePage(t *testing.T) {
	var out strings.Builder
	if err := Markdown(&out, []Row{{Case: "echo", Unit: "µs", Ours: []float64{6}, Floor: []float64{5}, Aim: 1.25, Note: "n"}}); err != nil {
		t.Fatal(err)
	}
	if want := "\n| echo | 6.00 | 5.00 | 1.20 | ≤ × 1.25: met | µs |\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("got %q, want it to end with %q", out.String(), want)
	}
}

func TestSaveWritesTheRowsInAFolderThatIsNotThereYet(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "results.json")
	if err := Save(name, []Row{{Case: "echo", Ours: []float64{1.5}}}, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(b), `"case": "echo"`) || !strings.Contains(string(b), "1970-01-01T00:00:00Z") {
		t.Errorf("got %s, %v", b, err)
	}
}
