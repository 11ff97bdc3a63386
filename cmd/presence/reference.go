package main

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:generate go test . -run TestReferencePageIsFresh -update

// referencePage is docs/reference/config.md around its table; %s is the table.
//
//go:embed reference.md.in
var referencePage string

// writeReference writes the page of all settings.
func writeReference(out io.Writer) error {
	var table strings.Builder
	table.WriteString("| setting | default | what it is |\n|---|---|---|\n")
	settings := new(Config).settings()
	for i := range settings {
		s := &settings[i]
		def := s.defDoc
		if def == "" {
			def = "`" + s.def + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", s.key, def, s.help)
	}
	_, err := io.WriteString(out, strings.Replace(referencePage, "%s\n", table.String(), 1))
	return err
}
