package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one measured figure, with a value a round.
type Row struct {
	Case  string    `json:"case"`
	Unit  string    `json:"unit"`
	Ours  []float64 `json:"ours"`
	Floor []float64 `json:"floor,omitempty"`
	Aim   float64   `json:"aim,omitempty"` // most that the ratio to the floor should be; without a floor: most that ours should be
	Note  string    `json:"note,omitempty"`
}

// Median returns the middle of the rounds' values, NaN of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Ratio returns the median of ours over the floor's, round by round: what a
// busy minute does to both is not in it. NaN without a floor.
func (r Row) Ratio() float64 {
	var ratios []float64
	for i := range min(len(r.Ours), len(r.Floor)) {
		ratios = append(ratios, r.Ours[i]/r.Floor[i])
	}
	return Median(ratios)
}

// verdict is the aim beside what was reached.
func (r Row) verdict() string {
	reached, sign := r.Ratio(), "× "
	if len(r.Floor) == 0 {
		reached, sign = Median(r.Ours), ""
	}
	switch {
	case r.Aim == 0:
		return ""
	case reached <= r.Aim:
		return fmt.Sprintf("≤ %s%.4g: met", sign, r.Aim)
	}
	return fmt.Sprintf("≤ %s%.4g: missed", sign, r.Aim)
}

// Print writes the rows as a table for people.
func Print(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\tours\tfloor\tratio\taim\tunit\tnote")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Case, figure(Median(r.Ours)), figure(Median(r.Floor)),
			figure(r.Ratio()), r.verdict(), r.Unit, r.Note)
	}
	return t.Flush()
}

// Markdown writes the rows as the table of docs/benchmarks.md, which leaves the
// notes out.
func Markdown(w io.Writer, rows []Row) error {
	var b strings.Builder
	b.WriteString("| case | ours | floor | ratio | aim | unit |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Case, figure(Median(r.Ours)), figure(Median(r.Floor)),
			figure(r.Ratio()), r.verdict(), r.Unit)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// Save writes the rows as JSON, with what is needed to compare them later.
func Save(name string, rows []Row, now time.Time) error {
	b, err := json.MarshalIndent(struct {
		Time string `json:"time"`
		Go   string `json:"go"`
		CPUs int    `json:"cpus"`
		Rows []Row  `json:"rows"`
	}{now.UTC().Format(time.RFC3339), runtime.Version(), runtime.NumCPU(), rows}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}
