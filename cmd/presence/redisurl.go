package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The kinds of Redis that redis.mode names.
const (
	redisAuto     = "auto" // by the URL, and by what the server says it is
	redisSingle   = "single"
	redisSentinel = "sentinel"
	redisCluster  = "cluster"
)

func (c *Config) validateRedis(f *faults) {
	r := &c.Redis
	mode := r.Mode
	if !slices.Contains([]string{redisAuto, redisSingle, redisSentinel, redisCluster}, mode) {
		f.check(false, "redis.mode", "%q; want auto, single, sentinel or cluster", mode)
		mode = redisAuto
	}
	f.check(r.Prefix != "" && len(r.Prefix) <= 64 && !notInKey.MatchString(r.Prefix), "redis.prefix",
		"%q; want 1 to 64 characters without brace and space", r.Prefix)
	cluster := mode == redisCluster
	if fault := redisURLFault(r.URL); fault != "" {
		f.check(false, "redis.url", "%s", fault)
	} else {
		u, _ := url.Parse(r.URL)
		cluster = kindOfRedis(mode, u) == redisCluster
		fault := redisModeFault(mode, u)
		f.check(fault == "", "redis.mode", "%s", fault)
		if fault == "" && cluster {
			fault = redisClusterFault(u)
			f.check(fault == "", "redis.url", "%s", fault)
		}
	}
	// Nobody who has one master has to think of this: its default may be too
	// much for a short lease, and does not count.
	f.check(r.ClockSkew < c.Lease.TTL/2 || !cluster && c.sources["redis.clock_skew"] == "", "redis.clock_skew",
		"%s is not below half of lease.ttl (%s); want less, or a longer lease", formatTime(r.ClockSkew), formatTime(c.Lease.TTL))
}

// redisURLFault says what is wrong with a URL whatever kind of Redis it
// names, without its password. The forms are go-redis's: ParseURL,
// ParseFailoverURL, ParseClusterURL.
func redisURLFault(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "it is no URL; want redis://host:port" // the error quotes it
	}
	q := u.Query()
	sentinel, further := q.Has("master_name"), q.Has("addr")
	switch {
	case u.Scheme == "" || u.Host == "" && u.Path == "":
		return fmt.Sprintf("%q has no scheme; want redis://host:port", redactURL(s))
	case !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme):
		return fmt.Sprintf("%q has the scheme %s; want redis, rediss or unix", redactURL(s), u.Scheme)
	case u.Scheme == "unix" && (sentinel || further):
		return fmt.Sprintf("%q is a socket of one Redis; for Sentinel and Cluster want redis:// or rediss://", redactURL(s))
	case u.Scheme != "unix" && u.Hostname() == "":
		return fmt.Sprintf("%q has no host; want redis://host:port", redactURL(s))
	case sentinel && q.Get("master_name") == "":
		return fmt.Sprintf("%q has an empty master_name; want the name that the Sentinels monitor", redactURL(s))
	case !sentinel && (q.Has("username") || q.Has("password")):
		return fmt.Sprintf("%q has a user or password in its query, where only Sentinel's form has the master's; want redis://user:password@host:port", redactURL(s))
	case slices.ContainsFunc(q["addr"], func(a string) bool { return !isNode(a) }):
		return fmt.Sprintf("%q has an addr that is no address; want addr=host:port, and user and password before the first host only", redactURL(s))
	}
	if db, ok := redisDatabase(u); !ok {
		return fmt.Sprintf("%q has the database %q; want a number", redactURL(s), db)
	}
	return ""
}

// kindOfRedis is what a mode and a valid URL say that Redis is; redisAuto when
// only the server can tell whether it is a single one or of a Cluster.
func kindOfRedis(mode string, u *url.URL) string {
	switch {
	case mode != redisAuto:
		return mode
	case u.Query().Has("master_name"):
		return redisSentinel
	case u.Query().Has("addr"):
		return redisCluster
	case u.Scheme == "unix":
		return redisSingle
	}
	return redisAuto
}

// redisModeFault says how a mode contradicts a valid URL.
func redisModeFault(mode string, u *url.URL) string {
	switch kind := kindOfRedis(redisAuto, u); {
	case mode == redisSentinel && kind != redisSentinel:
		return "sentinel, but redis.url names no master; want redis://sentinel:26379/0?master_name=NAME there"
	case kind == redisSentinel && mode != redisSentinel && mode != redisAuto:
		return mode + ", but redis.url names a master of Sentinel (master_name); want sentinel or auto, or a URL without it"
	case kind == redisCluster && mode == redisSingle:
		return "single, but redis.url names further nodes (addr); want cluster or auto, or one address"
	case kind == redisSingle && mode == redisCluster:
		return "cluster, but redis.url is a socket of one Redis; want redis://host:port there"
	}
	return ""
}

// redisClusterFault says what a Cluster does not have. go-redis would not look
// at a database's number there.
func redisClusterFault(u *url.URL) string {
	db, _ := redisDatabase(u)
	switch {
	case db != "" && strings.Trim(db, "0") != "":
		return fmt.Sprintf("%q has the database %s; a Cluster has 0 only", redactURL(u.String()), db)
	case u.Query().Has("db"):
		return fmt.Sprintf("%q has db in its query; a Cluster has one database: leave it out", redactURL(u.String()))
	}
	return ""
}

// redisDatabase returns the number of a database as it is written, "" where
// none is; false: it is no number.
func redisDatabase(u *url.URL) (string, bool) {
	db := u.Query().Get("db")
	if db == "" && u.Scheme != "unix" {
		db = strings.Trim(u.Path, "/")
	}
	n, err := strconv.Atoi(db)
	return db, db == "" || err == nil && n >= 0
}

// isNode says whether a further address of a URL is host:port.
func isNode(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	return err == nil && host != "" && port != "" && !strings.Contains(host, "@")
}

// redactURL hides the passwords of a URL, wherever somebody put one.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "***"
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "***")
	}
	var hidden bool
	q := u.Query()
	for name, values := range q {
		for i, value := range values {
			switch at := strings.LastIndex(value, "@"); {
			case strings.Contains(strings.ToLower(name), "pass"):
				values[i], hidden = "***", true
			case name == "addr" && at >= 0:
				values[i], hidden = "***"+value[at:], true
			}
		}
	}
	if hidden {
		u.RawQuery = q.Encode()
	}
	return strings.ReplaceAll(u.String(), "%2A%2A%2A", "***")
}
