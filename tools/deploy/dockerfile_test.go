package deploy

import (
	"os"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// lint parses a Dockerfile and returns its stages and every warning, as
// `docker build --check` would.
func lint(content string) (stages []instructions.Stage, warnings []string, err error) {
	result, err := parser.Parse(strings.NewReader(content))
	if err != nil {
		return nil, nil, err
	}
	for _, w := range result.Warnings {
		warnings = append(warnings, w.Short)
	}
	l := linter.New(&linter.Config{
		Warn: func(rule, _, _, message string, _ []parser.Range) { warnings = append(warnings, rule+": "+message) },
	})
	stages, _, err = instructions.Parse(result.AST, l)
	return stages, warnings, err
}

func dockerfile(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestDockerfileIsCleanAndEndsOnDistrolessWithoutRoot(t *testing.T) {
	stages, warnings, err := lint(dockerfile(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Error(w)
	}
	last := stages[len(stages)-1]
	if len(stages) != 2 || !strings.Contains(last.BaseName, "distroless/static") || !strings.HasSuffix(last.BaseName, ":nonroot") {
		t.Errorf("%d stages, the last on %q; want 2, the last on distroless/static:nonroot", len(stages), last.BaseName)
	}
	for _, c := range last.Commands {
		if c.Name() == "RUN" {
			t.Error("the last stage runs something: it has no shell")
		}
	}
}

func TestTheLinterFindsMistakes(t *testing.T) {
	good := dockerfile(t)
	for _, c := range []struct{ name, old, new string }{
		{"an unknown instruction", "COPY . .", "COPPY . ."},
		{"casing", "AS build", "as build"},
	} {
		broken := strings.Replace(good, c.old, c.new, 1)
		if broken == good {
			t.Fatalf("%s: %q is not in the file any more", c.name, c.old)
		}
		if _, warnings, err := lint(broken); err == nil && len(warnings) == 0 {
			t.Errorf("%s went through", c.name)
		}
	}
}
