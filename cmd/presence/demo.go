package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"presencesets/web"
)

// demoPage is the demo page's handler, nil when it is off.
func (c *Config) demoPage() http.Handler {
	if !c.Demo {
		return nil
	}
	o := web.Options{Node: c.Node.ID, APIKey: c.Auth.Keys[0]}
	for _, entry := range c.DemoNodes {
		n, err := demoNode(entry)
		if err != nil {
			panic(err) // validate has seen it
		}
		if n.ID == c.Node.ID {
			n.PID = os.Getpid() // the page invites to kill it
		}
		o.Nodes = append(o.Nodes, n)
	}
	return web.Handler(o)
}

// demoNode reads an entry of the setting demo_nodes: `n2=http://localhost:9001`
// or `n2=:9001`.
func demoNode(entry string) (web.Node, error) {
	id, address, ok := strings.Cut(entry, "=")
	u, err := url.Parse(address)
	isPort := strings.HasPrefix(address, ":") && isAddress(address)
	isURL := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	if !ok || id == "" || !isPort && !isURL {
		return web.Node{}, fmt.Errorf("%q; want such as n2=http://localhost:9001, or n2=:9001", entry)
	}
	return web.Node{ID: id, URL: address}, nil
}
