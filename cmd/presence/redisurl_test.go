package main

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What a URL and a mode say together, in each form that go-redis knows.
func TestRedisURLAndModeMustAgree(t *testing.T) {
	const (
		plain    = "redis://me:opensesame@h:6379/3"
		socket   = "unix:///run/redis.sock?db=3"
		sentinel = "redis://:opensesame@s1:26379/3?master_name=m&addr=s2:26379&username=me&password=opensesame"
		cluster  = "rediss://me:opensesame@h1:6379?addr=h2:6379&addr=[::1]:6379"
	)
	for _, test := range []struct {
		mode, url, want string // want: "" or what the one fault says
	}{
		{"auto", plain, ""},
		{"auto", socket, ""},
		{"auto", sentinel, ""},
		{"auto", cluster, ""},
		{"single", plain, ""},
		{"single", socket, ""},
		{"single", sentinel, "redis.mode: single, but redis.url names a master of Sentinel (master_name); want sentinel or auto"},
		{"single", cluster, "redis.mode: single, but redis.url names further nodes (addr); want cluster or auto"},
		{"sentinel", plain, "redis.mode: sentinel, but redis.url names no master; want redis://sentinel:26379/0?master_name=NAME"},
		{"sentinel", socket, "redis.mode: sentinel, but redis.url names no master"},
		{"sentinel", sentinel, ""},
		{"sentinel", cluster, "redis.mode: sentinel, but redis.url names no master"},
		{"cluster", plain, "has the database 3; a Cluster has 0 only"},
		{"cluster", "redis://h:6379", ""},
		{"cluster", "redis://h:6379/0", ""},
		{"cluster", socket, "redis.mode: cluster, but redis.url is a socket of one Redis; want redis://host:port"},
		{"cluster", sentinel, "redis.mode: cluster, but redis.url names a master of Sentinel (master_name); want sentinel or auto"},
		{"cluster", cluster, ""},
		{"many", plain, `redis.mode: "many"; want auto, single, sentinel or cluster`},
		{"", plain, `redis.mode: ""; want auto`},

		{"auto", "redis://h:1/3?addr=i:1", "has the database 3; a Cluster has 0 only"},
		{"auto", "redis://h:1?addr=i:1&db=0", "has db in its query; a Cluster has one database: leave it out"},
		{"auto", "redis://h:1/x", `has the database "x"; want a number`},
		{"auto", "redis://h:1/0/1", `has the database "0/1"; want a number`},
		{"auto", "redis://h:1?db=-1", `has the database "-1"; want a number`},
		{"auto", "redis://h:1?master_name=", "has an empty master_name"},
		{"auto", "redis://h:1?addr=i", "has an addr that is no address; want addr=host:port"},
		{"auto", "redis://h:1?addr=:1", "has an addr that is no address"},
		{"auto", "redis://h:1?addr=opensesame@i:1", "has an addr that is no address; want addr=host:port, and user and password before the first host only"},
		{"auto", "redis://h:1?addr=me:opensesame@i:1", "has an addr that is no address"},
		{"auto", "redis://h:1?addr=i:1&password=opensesame", "only Sentinel's form has the master's; want redis://user:password@host:port"},
		{"auto", "redis://h:1?username=me", "only Sentinel's form has the master's"},
		{"auto", "unix:///run/s?addr=h:1", "is a socket of one Redis; for Sentinel and Cluster want redis:// or rediss://"},
		{"auto", "unix:///run/s?master_name=m", "is a socket of one Redis"},
		{"auto", "http://me:opensesame@h", "has the scheme http; want redis, rediss or unix"},
		{"auto", "redis://me:open%sesame@h", "it is no URL"},
	} {
		faults := redisFaults(test.mode, test.url, 0)
		switch {
		case test.want == "" && len(faults) > 0:
			t.Errorf("%s %s: %v", test.mode, test.url, faults)
		case test.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], test.want)):
			t.Errorf("%s %s: got %q, want %q alone", test.mode, test.url, faults, test.want)
		}
		if strings.Contains(faults.Error(), "sesame") {
			t.Errorf("%s %s: the password is told: %v", test.mode, test.url, faults)
		}
	}
}

// redisFaults is what validation says of these settings, the lease being 6 s.
func redisFaults(mode, redis string, skew time.Duration, given ...string) configErrors {
	c := &Config{sources: make(map[string]string)}
	c.Redis.Mode, c.Redis.URL, c.Redis.Prefix, c.Redis.ClockSkew = mode, redis, "p", skew
	c.Lease.TTL = 6 * time.Second
	for _, key := range given {
		c.sources[key] = "a test"
	}
	f := &faults{c: c}
	c.validateRedis(f)
	return f.list
}

func TestClocksMayDifferByLessThanHalfALease(t *testing.T) {
	for _, test := range []struct {
		what, mode, url string
		skew            time.Duration
		given, fault    bool
	}{
		{"below, given", "auto", "redis://h", 2999 * time.Millisecond, true, false},
		{"half, given", "auto", "redis://h", 3 * time.Second, true, true},
		{"half, by default, maybe one master", "auto", "redis://h", 3 * time.Second, false, false},
		{"half, by default, one master", "single", "redis://h", 3 * time.Second, false, false},
		{"half, by default, one master at a time", "auto", "redis://h?master_name=m", 3 * time.Second, false, false},
		{"half, by default, several masters", "auto", "redis://h?addr=i:1", 3 * time.Second, false, true},
		{"half, by default, several masters by name", "cluster", "redis://h", 3 * time.Second, false, true},
	} {
		var given []string
		if test.given {
			given = []string{"redis.clock_skew"}
		}
		faults := redisFaults(test.mode, test.url, test.skew, given...)
		if got := len(faults) == 1 && strings.Contains(faults[0], "is not below half of lease.ttl (6s)"); got != test.fault || len(faults) > 1 {
			t.Errorf("%s: got %q, want a fault: %v", test.what, faults, test.fault)
		}
	}
}

func TestAShownRedisURLHasNoPassword(t *testing.T) {
	for _, s := range []string{
		"redis://me:opensesame@h:1/0",
		"redis://:opensesame@h:1/0?master_name=m",
		"redis://h:1?master_name=m&password=opensesame&password=opensesame",
		"redis://h:1?master_name=m&sentinel_password=opensesame",
		"redis://h:1?addr=i:1&addr=me:opensesame@j:1",
		"redis://h:1?Password=opensesame",
		"redis://h:1?pass=open%73esame",
	} {
		shown := redactURL(s)
		if strings.Contains(shown, "sesame") || !strings.Contains(shown, "***") {
			t.Errorf("%s is shown as %s", s, shown)
		}
		if u, err := url.Parse(shown); err != nil || u.Hostname() != "h" {
			t.Errorf("%s is shown as %s, which no longer says where Redis is: %v", s, shown, err)
		}
	}
	const plain = "redis://h:1/0?addr=i:1&read_timeout=3s"
	if got := redactURL(plain); got != plain {
		t.Errorf("%s has no secret and is shown as %s", plain, got)
	}
}

func TestTheStoreIsToldTheKindOfRedisAndItsClocks(t *testing.T) {
	clearEnv(t)
	c, err := loadArgs(t, "--redis-url", "redis://h1?addr=h2:1", "--redis-mode", "cluster", "--redis-clock-skew", "700ms")
	if err != nil {
		t.Fatal(err)
	}
	o := c.storeOptions(nil, nil)
	if o.URL != "redis://h1?addr=h2:1" || o.Mode != "cluster" || o.ClockSkew != 700*time.Millisecond {
		t.Errorf("got %q, %q and %v", o.URL, o.Mode, o.ClockSkew)
	}
}

// What docs/how-to/redis-high-availability.md says to write is accepted.
func TestTheURLsOfTheHowToAreAccepted(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "how-to", "redis-high-availability.md"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	for _, found := range regexp.MustCompile("`((?:rediss?|unix)://[^`]+)`").FindAllStringSubmatch(string(page), -1) {
		u, err := url.Parse(found[1])
		if err != nil {
			t.Fatal(err)
		}
		kind := kindOfRedis(redisAuto, u)
		kinds[kind]++
		if faults := redisFaults(kind, found[1], 0); len(faults) > 0 {
			t.Errorf("%s: %v", found[1], faults)
		}
	}
	if kinds[redisAuto] == 0 || kinds[redisSingle] == 0 || kinds[redisSentinel] == 0 || kinds[redisCluster] == 0 {
		t.Errorf("the page shows %v, want each kind", kinds)
	}
}
