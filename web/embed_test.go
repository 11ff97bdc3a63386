package web

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func get(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestEveryEmbeddedFileIsServedWithItsTypeAndThePolicy(t *testing.T) {
	h := Handler(Options{})
	err := fs.WalkDir(FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		res := get(t, h, http.MethodGet, "/"+name)
		if res.StatusCode != http.StatusOK {
			t.Errorf("GET /%s: got %d, want 200", name, res.StatusCode)
		}
		if got, want := res.Header.Get("Content-Type"), kinds[path.Ext(name)]; got != want {
			t.Errorf("GET /%s: content type %q, want %q", name, got, want)
		}
		if got := res.Header.Get("Content-Security-Policy"); got != Policy {
			t.Errorf("GET /%s: policy %q, want %q", name, got, Policy)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheRootIsThePage(t *testing.T) {
	h := Handler(Options{})
	res := get(t, h, http.MethodGet, "/?view=fleet")
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != kinds[".html"] {
		t.Fatalf("GET /: got %d %q, want 200 %q", res.StatusCode, got, kinds[".html"])
	}
}

func TestAnUnchangedFileIsNotSentAgain(t *testing.T) {
	h := Handler(Options{})
	first := get(t, h, http.MethodGet, "/css/tokens.css")
	if got := first.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("cache control %q, want no-cache", got)
	}
	again := get(t, h, http.MethodGet, "/css/tokens.css", "If-None-Match", first.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("GET with the same tag: got %d, want 304", again.StatusCode)
	}
}

func TestDemoJSONHoldsWhatThePageNeeds(t *testing.T) {
	type answer Options // the same three, read back
	want := answer{"n1", "app.key:secret", []Node{
		{ID: "n1", URL: "http://localhost:9000", PID: 41837},
		{ID: "n2", URL: ":9001"},
	}}
	res := get(t, Handler(Options(want)), http.MethodGet, "/demo.json")
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("cache control %q, want no-store: the pids change at each start", got)
	}
	var got answer
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("demo.json (-want +got):\n%s", diff)
	}
}

func TestDemoJSONHasAListOfNodesEvenWhenThereIsNone(t *testing.T) {
	body := httptest.NewRecorder()
	Handler(Options{Node: "n1"}).ServeHTTP(body, httptest.NewRequest(http.MethodGet, "/demo.json", nil))
	if !strings.Contains(body.Body.String(), `"nodes":[]`) {
		t.Errorf("got %s, want an empty list, not null", body.Body)
	}
}

func TestWhatIsNotThePageIsRefused(t *testing.T) {
	h := Handler(Options{})
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{http.MethodGet, "/embed.go", http.StatusNotFound},
		{http.MethodGet, "/test/package.json", http.StatusNotFound},
		{http.MethodGet, "/css/", http.StatusNotFound},
		{http.MethodGet, "/css/../embed.go", http.StatusNotFound},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodHead, "/", http.StatusOK},
	} {
		if res := get(t, h, c.method, c.target); res.StatusCode != c.want {
			t.Errorf("%s %s: got %d, want %d", c.method, c.target, res.StatusCode, c.want)
		}
	}
}
