// Package web holds the demo page: plain ES modules over the SDK, embedded so
// that the binary alone can serve it. Nothing here is built: what is in the
// tree is what the browser gets. sdk.js is made from clients/js and committed.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// FS is the page as it is served, without its tests.
//
//go:embed index.html favicon.svg *.js css room fleet
var FS embed.FS

// Policy is the Content-Security-Policy of every answer: own files only, and
// sockets to any node. No inline script or style, so text from a member can
// never become either.
const Policy = "default-src 'self'; connect-src 'self' ws: wss:"

// Node is one node that the page can name and link to.
type Node struct {
	ID string `json:"id"`
	// URL is the client port as a browser reaches it, "http://localhost:9001".
	// Without a host (":9001") it is the host that the page came from.
	URL string `json:"url"`
	// PID is the node's process on this machine, for the line that kills it;
	// 0 hides that line.
	PID int `json:"pid,omitempty"`
}

// Options are what the page asks for at /demo.json.
type Options struct {
	Node   string // id of the node that serves the page
	APIKey string // the key the page connects with: everyone who opens the page reads it
	Nodes  []Node // every node of the demo, this one too; may be empty
}

// Handler serves the page at /, its files beside it, and /demo.json. Anything
// else is 404. It reads no clock, touches no file and never blocks.
func Handler(o Options) http.Handler {
	demo, err := json.Marshal(struct {
		Node   string `json:"node"`
		APIKey string `json:"apiKey"`
		Nodes  []Node `json:"nodes"`
	}{o.Node, o.APIKey, append([]Node{}, o.Nodes...)})
	if err != nil {
		panic("web: demo.json: " + err.Error()) // strings and numbers always marshal
	}
	files := read()
	files["/demo.json"] = file{body: demo, kind: "application/json", cache: "no-store"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", Policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", f.kind)
		h.Set("Cache-Control", f.cache)
		if f.tag != "" {
			h.Set("ETag", f.tag)
		}
		// ServeContent answers If-None-Match, HEAD and ranges. No time: the tag decides.
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
	})
}

type file struct {
	body             []byte
	kind, cache, tag string
}

// kinds are the types of what is embedded, by extension. The machine's own
// table is not asked: some call a .js file text/plain, and then no module runs.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// read returns the embedded files by the path they are served at. The browser
// keeps them but asks each time (no-cache with a tag): module names carry no
// version, and half an old page with half a new one is worse than a 304.
func read() map[string]file {
	files := map[string]file{}
	err := fs.WalkDir(FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := FS.ReadFile(name)
		if err != nil {
			return err
		}
		kind, ok := kinds[path.Ext(name)]
		if !ok {
			panic("web: no content type for " + name)
		}
		sum := sha256.Sum256(body)
		f := file{body, kind, "no-cache", `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		files["/"+name] = f
		if name == "index.html" {
			files["/"] = f
		}
		return nil
	})
	if err != nil {
		panic("web: embedded files: " + strings.TrimSpace(err.Error())) // the compiler put them there
	}
	return files
}
