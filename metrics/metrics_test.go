package metrics

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
)

//go:generate go test . -run "TestNames|TestReferencePage" -update

var update = flag.Bool("update", false, "write the golden list of names and the reference page")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// filled returns a set in which every vector has one child and two loops have
// counted, so that everything there is shows in a scrape.
func filled(t *testing.T) *Metrics {
	t.Helper()
	m := New(BuildInfo{Version: "1.2.3", Go: "go1.26"})
	m.RegisterLoops(func() []LoopStats {
		return []LoopStats{
			{Loop: 0, Live: 3, Handshaking: 1, Turns: 7, QueueBytes: 10, Rooms: 1, Delivered: [4]uint64{1, 2, 3, 4}},
			{Loop: 1, Live: 4, Closing: 2, Turns: 8, QueueBytes: 20, Rooms: 1, Delivered: [4]uint64{10, 20, 30, 40}},
		}
	})
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		if v.Field(i).IsNil() {
			t.Errorf("field %s was not made", field.Name)
			continue
		}
		switch vec := v.Field(i).Interface().(type) {
		case *prometheus.CounterVec:
			vec.WithLabelValues(values(vec)...).Add(0)
		case *prometheus.GaugeVec:
			vec.WithLabelValues(values(vec)...).Add(0)
		case *prometheus.HistogramVec:
			vec.WithLabelValues(values(vec)...).Observe(0)
		}
	}
	return m
}

// values makes one value for each label of a vector.
func values(c prometheus.Collector) []string {
	descs := make(chan *prometheus.Desc, 1)
	c.Describe(descs)
	text := (<-descs).String()
	_, labels, _ := strings.Cut(text, "variableLabels: {")
	labels, _, _ = strings.Cut(labels, "}")
	return slices.Repeat([]string{"x"}, strings.Count(labels, ",")+1)
}

func gather(t *testing.T, m *Metrics) []*dto.MetricFamily {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		return strings.HasPrefix(f.GetName(), "go_") || strings.HasPrefix(f.GetName(), "process_")
	})
}

func TestNamesAndLabelsAreTheDocumentedOnes(t *testing.T) {
	var b strings.Builder
	for _, f := range gather(t, filled(t)) {
		fmt.Fprintf(&b, "%s %s", f.GetName(), strings.ToLower(f.GetType().String()))
		labels := f.GetMetric()[0].GetLabel()
		for _, l := range labels {
			fmt.Fprintf(&b, " %s", l.GetName())
		}
		b.WriteByte('\n')
	}
	const golden = "testdata/names.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("names are a contract with dashboards and alerts (-golden +now); go test ./metrics -update writes them:\n%s", diff)
	}
}

// What is said about the metrics is what a scrape shows.
func TestEntriesAreWhatAScrapeShows(t *testing.T) {
	m := filled(t)
	shown := make(map[string]string)
	for _, f := range gather(t, m) {
		shown[f.GetName()] = strings.ToLower(f.GetType().String()) + " " + f.GetHelp()
	}
	for _, e := range m.Entries() {
		if got := shown[e.Name]; got != e.Type+" "+e.Help {
			t.Errorf("%s: a scrape shows %q, the page %q", e.Name, got, e.Type+" "+e.Help)
		}
		delete(shown, e.Name)
	}
	if len(shown) > 0 {
		t.Errorf("a scrape shows metrics of which nothing is said: %v", shown)
	}
}

func TestReferencePageIsFresh(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Made from the package metrics by its test: change it there, then ` + "`make docs`" + `. -->

Served at ` + "`/metrics`" + ` of the admin port, in the text format of Prometheus or as OpenMetrics. Beside these are those of the Go runtime (` + "`go_…`" + `)
and of the process (` + "`process_…`" + `). Labels come from closed sets: ` + "`op`" + ` is a request's name such as ` + "`room_join`" + `, ` + "`result`" + ` is ` + "`ok`" + ` or a code of
[the errors](errors.md), ` + "`master`" + ` the address of a Redis primary, ` + "`loop`" + ` the number of an event loop. No label names a room, a client or a connection.

| metric | kind | labels | what it is, and what a change means |
|---|---|---|---|
`)
	for _, e := range New(BuildInfo{}).Entries() {
		labels := ""
		if len(e.Labels) > 0 {
			labels = "`" + strings.Join(e.Labels, "` `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.Name, e.Type, labels, e.Help)
	}
	path := filepath.Join("..", "docs", "reference", "metrics.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make docs writes it", err)
	}
	if diff := cmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("docs/reference/metrics.md is stale (make docs writes it):\n%s", diff)
	}
}

func TestEveryMetricPassesTheLinter(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(gather(t, filled(t))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestEveryMetricHasPrefixBaseUnitAndAHelpThatIsASentence(t *testing.T) {
	notBase := []string{"millisecond", "_ms", "_micro", "_kb", "_kilobytes", "_mb", "_minutes", "_percent"}
	highCardinality := []string{"room", "client", "conn", "connection", "key", "address", "app"}
	for _, f := range gather(t, filled(t)) {
		name, help := f.GetName(), f.GetHelp()
		if !strings.HasPrefix(name, Namespace+"_") {
			t.Errorf("%s does not begin with %s_", name, Namespace)
		}
		for _, unit := range notBase {
			if strings.Contains(name, unit) {
				t.Errorf("%s holds %q: want base units, seconds and bytes", name, unit)
			}
		}
		if isCounter := f.GetType() == dto.MetricType_COUNTER; isCounter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s: counters, and only counters, end in _total", name, f.GetType())
		}
		if len(help) < 30 || !strings.HasSuffix(help, ".") {
			t.Errorf("help of %s is %q: want sentences that say what a change means", name, help)
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			if slices.Contains(highCardinality, l.GetName()) {
				t.Errorf("%s has the label %s, whose values are not a closed set", name, l.GetName())
			}
		}
	}
}

func TestLoopsAreToldOneByOneAndSummed(t *testing.T) {
	got := make(map[string]float64)
	for _, f := range gather(t, filled(t)) {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"presence_connections":                    7,
		"presence_rooms":                          2,
		"presence_write_queue_bytes":              30,
		"presence_loop_turns_total 0":             7,
		"presence_loop_turns_total 1":             8,
		"presence_loop_connections 0 handshaking": 1,
		"presence_loop_connections 1 live":        4,
		"presence_loop_connections 1 closing":     2,
		"presence_events_delivered_total message": 11,
		"presence_events_delivered_total leave":   44,
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s: got %v (present: %v), want %v", name, v, ok, value)
		}
	}
}

func TestHandlerServesBothFormatsAndWorksBeforeTheLoopsExist(t *testing.T) {
	m := New(BuildInfo{Version: "v", Go: "g"})
	for _, accept := range []string{"text/plain", "application/openmetrics-text"} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: status %d: %s", accept, w.Code, w.Body)
		}
		for _, want := range []string{`presence_build_info{go="g",version="v"} 1`, "go_goroutines", "process_open_fds", `presence_disconnects_total{reason="pong_timeout"} 0`} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: no %q in the answer", accept, want)
			}
		}
	}
}
