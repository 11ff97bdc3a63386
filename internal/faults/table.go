package faults

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// result is one row of the table.
type result struct {
	redis      string // its mode
	name       string
	bound      string // why the bounds move, and how far
	took       time.Duration
	members    int // at the end
	begun      int // memberships, with those that were there at the start
	ended      int
	wrong      int // pairs of observer and membership with other than one join and one leave
	gone       int // leaves of who is connected
	flaps      int // leaves that the fault excuses
	events     int
	twice      int // events told again after a resume
	resumes    int
	late       int
	acts       int
	answers    int
	cuts       int // sockets of clients that ended, and not by them
	slowest    time.Duration
	told       time.Duration // latest that an observer heard of a leave, after it was done
	overdue    int           // leaves and answers over their bound, where that only is told
	exact      int           // observers that missed nothing
	observers  int
	departures map[kind]*lateness
	remark     string
	failures   []string
	notes      []string
}

func (r *result) fail(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *result) verdict() string {
	if len(r.failures) > 0 {
		return "FAILED"
	}
	return "ok"
}

// departed is the departure times beside their bounds.
func (r *result) departed() string {
	var list []string
	for k := range kinds {
		l := r.departures[k]
		if l == nil {
			continue
		}
		s := fmt.Sprintf("%v %.2f/%.2f ≤ %.0f s", k, l.p50().Seconds(), l.max().Seconds(), l.bound.Seconds())
		if l.max() > l.bound {
			s += fmt.Sprintf(" (moved by up to %.1f)", l.moved.Seconds())
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

// about is what the table has no column for.
func (r *result) about() string {
	about := []string{}
	if r.remark != "" {
		about = append(about, r.remark)
	}
	if r.bound != "" {
		about = append(about, "the bound moves "+r.bound)
	}
	return strings.Join(about, "; ")
}

// line tells the cell while the suite runs.
func (r *result) line() string {
	s := fmt.Sprintf("%-6s %s (%.0f s): %d begun, %d ended, %d resumes, %d late answers, %d answers, slowest %.2f s, %d over a bound", r.verdict(), r.name, r.took.Seconds(), r.begun, r.ended, r.resumes, r.late, r.answers, r.slowest.Seconds(), r.overdue)
	if r.remark != "" {
		s += "; " + r.remark
	}
	for _, f := range r.failures {
		s += "\n         " + f
	}
	return s
}

// keep writes the evidence of a failed cell.
func (r *result) keep(f *field) {
	name := filepath.Join(f.o.Dir, "evidence.txt")
	text := r.line() + "\n\n" + strings.Join(r.notes, "\n") + "\n" + f.telling()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		r.fail("keep the evidence: %v", err)
		return
	}
	f.o.Log("         evidence: %s, nodes: %s", name, strings.Join(f.logs(), " "))
}

// Failed returns how many cells failed.
func Failed(list []*result) (n int) {
	for _, r := range list {
		if len(r.failures) > 0 {
			n++
		}
	}
	return n
}

var heads = []string{"Redis", "fault", "begun", "ended", "not one join, one leave", "connected, told gone", "excused", "resumed", "events told", "sockets cut", "slowest answer", "told after, max", "leave after its cause, p50/max ≤ bound", ""}

func (r *result) cells() []string {
	n := func(v int) string { return fmt.Sprint(v) }
	return []string{
		r.redis, r.name, n(r.begun), n(r.ended), n(r.wrong), n(r.gone), n(r.flaps), n(r.resumes), n(r.events), n(r.cuts),
		fmt.Sprintf("%.2f s", r.slowest.Seconds()), fmt.Sprintf("%.2f s", r.told.Seconds()), r.departed(), r.verdict(),
	}
}

// Print writes the table for people.
func Print(w io.Writer, list []*result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(heads, "\t"))
	for _, r := range list {
		fmt.Fprintln(t, strings.Join(r.cells(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range list {
		if about := r.about(); about != "" {
			fmt.Fprintf(w, "%s: %s\n", r.name, about)
		}
		for _, f := range r.failures {
			fmt.Fprintf(w, "FAILED %s: %s\n", r.name, f)
		}
	}
	return nil
}

// Markdown writes the table of docs/reliability.md.
func Markdown(w io.Writer, list []*result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, r := range list {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r.cells(), " | "))
	}
	for _, r := range list {
		if about := r.about(); about != "" {
			fmt.Fprintf(&b, "\n%s: %s.\n", r.name, about)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
