package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// resyncs reads each node's count of rooms that were read again.
func (f *field) resyncs() []float64 {
	list := make([]float64, len(f.nodes))
	for i, n := range f.nodes {
		m, err := n.metrics()
		if err == nil {
			list[i] = m["presence_resyncs_total"]
		}
	}
	return list
}

// page reads a page of the node's admin port.
func (n *node) page(path string) (string, error) {
	c := http.Client{Timeout: 5 * time.Second}
	res, err := c.Get("http://" + n.admin + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

// metrics reads each metric's sum over its labels.
func (n *node) metrics() (map[string]float64, error) {
	text, err := n.page("/metrics")
	if err != nil {
		return nil, err
	}
	sums := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err == nil && !strings.HasPrefix(line, "#") {
			sums[line[:strings.IndexAny(line, "{ ")]] += v
		}
	}
	return sums, nil
}

// tellingMetrics say why a cell failed.
var tellingMetrics = regexp.MustCompile(`(?m)^presence_(replays|resumes|resyncs|feed_gaps|reclaims|rings|reaped|fence|fenced|nodes_lost|lease_renew|redis_master_changes|redis_lane_refusals|disconnects|late_acks|departures_owed|panics|sessions|limit_hits|slow_consumer|redis_script_errors|expiry_event_lag|departure_seconds)[a-z_]*(\{[^}]*\})? [1-9].*$`)

// telling returns those of all nodes, as they are now.
func (f *field) telling() string {
	var b strings.Builder
	for _, n := range f.nodes {
		text, err := n.page("/metrics")
		fmt.Fprintf(&b, "\nn%d (%v)\n%s\n", n.index+1, err, strings.Join(tellingMetrics.FindAllString(text, -1), "\n"))
	}
	return b.String()
}

// footprint is what nodes and Redis hold while nobody is connected.
type footprint struct {
	keys        int64
	descriptors []int
	rss         []int64
}

func (f *field) footprint(ctx context.Context) (p footprint, err error) {
	if p.keys, err = f.redis.keys.DBSize(ctx).Result(); err != nil {
		return p, err
	}
	for _, n := range f.nodes {
		if _, err := n.page("/debug/pprof/heap?gc=1"); err != nil { // collects first
			return p, err
		}
		d, err := descriptors(n.PID())
		if err != nil {
			return p, err
		}
		p.descriptors = append(p.descriptors, d)
		p.rss = append(p.rss, rss(n.PID()))
	}
	return p, nil
}
