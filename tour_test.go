package presence

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheTourNamesWhatExists checks the functions and files of docs/tour.md
// against the code: each name in backticks that is a file must be there, each
// other word in them must be a function of some Go file that the page names.
func TestTheTourNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile("docs/tour.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, pattern := range []string{"node/*.go", "protocol/*.go", "redisstore/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	functions, files := 0, 0
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(page), -1) {
		name := m[1]
		switch {
		case strings.Contains(name, "."):
			files++
			_, here := os.Stat(name)
			_, beside := os.Stat(filepath.Join("redisstore", name)) // as "(`hosted.go`)", beside another of its package
			if here != nil && beside != nil {
				t.Errorf("docs/tour.md names the file %s, which does not exist", name)
			}
		case regexp.MustCompile(`^[A-Za-z]+$`).MatchString(name) && name != "due" && name != "UnavailableError":
			functions++
			if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `\(`).MatchString(source.String()) {
				t.Errorf("docs/tour.md names the function %s, which does not exist", name)
			}
		}
	}
	if functions < 15 || files < 8 {
		t.Errorf("found %d functions and %d files on the page: does this test still read it?", functions, files)
	}
}
