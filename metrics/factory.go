package metrics

import "github.com/prometheus/client_golang/prometheus"

// Namespace begins the name of every metric of ours.
const Namespace = "presence"

// fastBuckets suit what should take milliseconds and is alarming above a
// second, in seconds.
var fastBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5}

// departureBuckets have an edge at each promised bound: 1 s for a clean end,
// grace + 1 s for a lost socket, max(lease, grace) + 2 s for a lost node.
var departureBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2, 3, 5, 7, 9, 10, 11, 12, 15, 20, 30, 60, 120}

// Entry is what is said about one metric: a line of the reference page.
type Entry struct {
	Name   string // with its prefix
	Type   string // counter, gauge or histogram
	Help   string
	Labels []string
}

// factory makes and registers collectors; a name used twice panics at start.
type factory struct {
	registry *prometheus.Registry
	entries  *[]Entry
}

func (f factory) note(kind, name, help string, labels ...string) {
	*f.entries = append(*f.entries, Entry{Namespace + "_" + name, kind, help, labels})
}

func (f factory) counter(name, help string) prometheus.Counter {
	f.note("counter", name, help)
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: Namespace, Name: name, Help: help})
	f.registry.MustRegister(c)
	return c
}

func (f factory) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	f.note("counter", name, help, labels...)
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Namespace, Name: name, Help: help}, labels)
	f.registry.MustRegister(c)
	return c
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	f.note("gauge", name, help)
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help})
	f.registry.MustRegister(g)
	return g
}

func (f factory) gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	f.note("gauge", name, help, labels...)
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: Namespace, Name: name, Help: help}, labels)
	f.registry.MustRegister(g)
	return g
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	f.note("histogram", name, help)
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: Namespace, Name: name, Help: help, Buckets: buckets})
	f.registry.MustRegister(h)
	return h
}

func (f factory) histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	f.note("histogram", name, help, labels...)
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: Namespace, Name: name, Help: help, Buckets: buckets}, labels)
	f.registry.MustRegister(h)
	return h
}
