package presence_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"presencesets"
)

var update = flag.Bool("update", false, "write the generated parts of docs/reference anew")

const (
	errorsPage = "docs/reference/errors.md"
	tableBegin = "<!-- table: begin (generated from errors.go) -->\n"
	tableEnd   = "<!-- table: end -->\n"
)

// errorsTable is the table of errors as the page shows it.
func errorsTable() string {
	var b strings.Builder
	b.WriteString("| name | status | code | try again? | what to do |\n|---|---|---|---|---|\n")
	for _, row := range presence.ErrorTable() {
		retry, advice := "no", row.Advice
		if row.Retry {
			retry = "yes"
		}
		if advice == "" {
			advice = "–"
		}
		fmt.Fprintf(&b, "| `%s` | %d | `%s` | %s | %s |\n", row.Name, row.Status, row.Code, retry, advice)
	}
	return b.String()
}

func TestTheErrorsPageIsTheTable(t *testing.T) {
	page, err := os.ReadFile(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(page), tableBegin)
	table, tail, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		t.Fatalf("%s has no lines %q and %q", errorsPage, tableBegin, tableEnd)
	}
	if *update {
		if err := os.WriteFile(errorsPage, []byte(head+tableBegin+errorsTable()+tableEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(errorsTable(), table); diff != "" {
		t.Errorf("%s is stale (-want +got); run `go test . -run TestTheErrorsPageIsTheTable -update`:\n%s", errorsPage, diff)
	}
}

func TestEveryCodeHasItsRow(t *testing.T) {
	codes := map[presence.Code]bool{}
	for _, row := range presence.ErrorTable() {
		if codes[row.Code] {
			t.Errorf("the code %s has two rows", row.Code)
		}
		codes[row.Code] = true
		if row.Status < 400 || row.Status > 599 || !strings.HasSuffix(row.Name, "Error") || strings.ToLower(string(row.Code)) != string(row.Code) {
			t.Errorf("an odd row: %+v", row)
		}
		if row.Retry && row.Advice == "" {
			t.Errorf("the code %s may be tried again, but nothing says when", row.Code)
		}
		e := presence.Errorf(row.Code, "%d things", 3)
		want := presence.Error{Code: row.Code, Name: row.Name, Status: row.Status, Retry: row.Retry, Message: "3 things"}
		if *e != want || e.Error() != row.Name+": 3 things" {
			t.Errorf("Errorf(%s): %+v, want %+v", row.Code, *e, want)
		}
	}
	for _, code := range []presence.Code{
		presence.CodeInvalid, presence.CodeNoClientID, presence.CodeUnauthorized, presence.CodeTokenInvalid,
		presence.CodeTokenExpired, presence.CodeForbidden, presence.CodeNotFound, presence.CodeNotInRoom, presence.CodeNotMember, presence.CodeLimit,
		presence.CodeTooLarge, presence.CodeRateLimited, presence.CodeInternal, presence.CodeNotSupported, presence.CodeUnavailable, presence.CodeFenced,
	} {
		if !codes[code] {
			t.Errorf("the code %s has no row", code)
		}
		delete(codes, code)
	}
	for code := range codes {
		t.Errorf("the row %s has no constant in this test", code)
	}
}

func TestAnUnknownCodeIsAnInternalError(t *testing.T) {
	e := presence.Errorf("no_such_code", "x")
	if e.Code != presence.CodeInternal || e.Status != 500 || !strings.Contains(e.Message, "no_such_code") {
		t.Errorf("Errorf of an unknown code: %+v", e)
	}
}

func TestAnErrorCarriesFieldAndLimit(t *testing.T) {
	var err error = presence.Errorf(presence.CodeTooLarge, "x").WithField("userData").WithLimit(16384)
	var e *presence.Error
	if !errors.As(err, &e) || e.Field != "userData" || e.Limit != 16384 {
		t.Errorf("%+v", err)
	}
}

func TestTheTableCannotBeChangedFromOutside(t *testing.T) {
	presence.ErrorTable()[0].Status = 0
	if presence.ErrorTable()[0].Status == 0 {
		t.Error("a change of the copy changed the table")
	}
}
