package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What kind of Redis the settings name, and the client for it.

// The kinds, as the setting redis.mode has them.
const (
	modeAuto     = "auto"
	modeSingle   = "single"
	modeSentinel = "sentinel"
	modeCluster  = "cluster"
)

// What of go-redis's options is ours to say, whatever the kind. By it an
// operation ends within opLife.
const (
	protocol      = 2  // what is pushed in protocol 3 is of no use here
	dialerRetries = 1  // nothing waits longer than its context
	maxRetries    = -1 // nothing is sent twice behind our back: that is for settle.go to say
	maxRedirects  = -1 // the same: go-redis would send a whole pipeline again for one TRYAGAIN in it
	pipelinePool  = -1 // pipelines are all we send; one pool is enough
)

var noNotifications = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

// dial makes what finds the masters, and finds out the kind where the settings
// leave it open. It blocks for a round trip then.
func (s *Store) dial(ctx context.Context) error {
	mode, err := modeOf(s.opts)
	if err != nil {
		return err
	}
	if mode == modeAuto || mode == modeSingle {
		opts, err := redis.ParseURL(s.opts.URL)
		if err != nil {
			return urlError(err, s.opts.URL)
		}
		is, err := kind(ctx, opts)
		switch {
		case err != nil:
			return err
		case is == modeSingle:
			mode, s.masters.single = modeSingle, opts
		case mode == modeSingle:
			return fmt.Errorf("redis at %s runs in mode %s; redis.mode says single", opts.Addr, is)
		case is == modeSentinel:
			return fmt.Errorf("%s is a Sentinel; add ?master_name= to redis.url", opts.Addr)
		case opts.DB != 0:
			return fmt.Errorf("redis at %s is a Cluster, which has database 0 only; redis.url names %d", opts.Addr, opts.DB)
		default:
			mode = modeCluster
		}
	}
	switch mode {
	case modeSentinel:
		opts, err := redis.ParseFailoverURL(s.opts.URL)
		if err != nil {
			return urlError(err, s.opts.URL)
		}
		s.masters.sentinels = newSentinels(opts)
	case modeCluster:
		opts, err := clusterOptions(s.opts)
		if err != nil {
			return err
		}
		s.masters.cluster = redis.NewClusterClient(opts)
	}
	switch skew := &s.opts.ClockSkew; {
	case mode != modeCluster:
		*skew = 0 // one master: one clock
	case *skew >= s.opts.LeaseTTL/2:
		return fmt.Errorf("redis.clock_skew is %v; in a Cluster want less than half of lease.ttl, %v", *skew, s.opts.LeaseTTL)
	}
	return nil
}

// kind asks a server what it is.
func kind(ctx context.Context, opts *redis.Options) (mode string, err error) {
	client := newClient(opts, "", "", 1)
	info, err := readInfo(ctx, client)
	if err := errors.Join(err, client.Close()); err != nil {
		return "", fmt.Errorf("ask Redis at %s what it is: %w", opts.Addr, err)
	}
	switch is := info["redis_mode"]; is {
	case "standalone":
		return modeSingle, nil
	case modeCluster, modeSentinel:
		return is, nil
	default:
		return "", fmt.Errorf("redis at %s runs in mode %q; want a single server, Sentinel or a Cluster", opts.Addr, is)
	}
}

// modeOf reads which kind the settings ask for; modeAuto where the server must be
// asked.
func modeOf(o Options) (string, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return "", errors.New("redis.url is not a URL; want redis://host:port/db") // err would print the password
	}
	named, several := u.Query().Get("master_name") != "", u.Query().Has("addr")
	switch o.Mode {
	case "", modeAuto:
		switch {
		case named:
			return modeSentinel, nil
		case several:
			return modeCluster, nil
		}
		return modeAuto, nil
	case modeSingle:
		if named || several {
			return "", errors.New("redis.url names several servers (master_name or addr); redis.mode says single")
		}
	case modeSentinel:
		if !named {
			return "", errors.New("redis.mode is sentinel; redis.url must name the master: add ?master_name=")
		}
	case modeCluster:
		if named {
			return "", errors.New("redis.url asks for Sentinel (master_name); redis.mode says cluster")
		}
	default:
		return "", fmt.Errorf("redis.mode is %q; want auto, single, sentinel or cluster", o.Mode)
	}
	return o.Mode, nil
}

// urlError is an error of go-redis without the URL, which may have a password.
func urlError(err error, url string) error {
	return fmt.Errorf("redis.url: %s", strings.ReplaceAll(err.Error(), url, "the URL"))
}

// sentinels know which server is the master.
type sentinels struct {
	name string // of the master, as they know it
	all  []*redis.SentinelClient
	opts *redis.FailoverOptions
}

func newSentinels(opts *redis.FailoverOptions) *sentinels {
	s := &sentinels{name: opts.MasterName, opts: opts}
	for _, addr := range opts.SentinelAddrs {
		s.all = append(s.all, redis.NewSentinelClient(&redis.Options{
			Addr: addr, Username: opts.SentinelUsername, Password: opts.SentinelPassword, TLSConfig: serverName(opts.TLSConfig, addr),
			PoolSize: 1, MaxRetries: maxRetries, DialerRetries: dialerRetries, ContextTimeoutEnabled: true,
			DialTimeout: mapTime, ReadTimeout: mapTime, WriteTimeout: mapTime, PoolTimeout: mapTime,
			DisableIdentity: true, PipelinePoolSize: pipelinePool, MaintNotificationsConfig: noNotifications,
		}))
	}
	return s
}

// serverName is a TLS setting for the server at addr.
func serverName(config *tls.Config, addr string) *tls.Config {
	if config == nil {
		return nil
	}
	c := config.Clone()
	c.ServerName, _, _ = net.SplitHostPort(addr)
	return c
}

// master asks all of them at the same time for the master's address. Those that
// were away, or have not heard yet of the last failover, name an earlier one:
// the highest epoch is right. It blocks until the last has answered, or ctx ends.
func (s *sentinels) master(ctx context.Context) (*redis.Options, error) {
	type answer struct {
		epoch int64
		addr  string
		err   error
	}
	answers := make(chan answer, len(s.all))
	for _, one := range s.all {
		go func() {
			m, err := one.Master(ctx, s.name).Result()
			epoch, _ := parseDecimal([]byte(m["config-epoch"]))
			answers <- answer{epoch, net.JoinHostPort(m["ip"], m["port"]), err}
		}()
	}
	best := answer{epoch: -1}
	var errs []error
	for range s.all {
		switch a := <-answers; {
		case a.err != nil:
			errs = append(errs, a.err)
		case a.epoch > best.epoch:
			best = a
		}
	}
	if best.epoch < 0 {
		return nil, fmt.Errorf("ask the sentinels for the master %s: %w", s.name, errors.Join(errs...))
	}
	o := s.opts
	return &redis.Options{
		Addr: best.addr, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: serverName(o.TLSConfig, best.addr),
	}, nil
}

// listen has then called when a sentinel tells that it knows of another master,
// until ctx ends. It never blocks.
func (s *sentinels) listen(ctx context.Context, listening *sync.WaitGroup, then func()) {
	for _, one := range s.all {
		listening.Go(func() {
			sub := one.Subscribe(ctx, "+switch-master")
			defer sub.Close()
			told := sub.Channel() // go-redis connects again where it must
			for {
				select {
				case <-ctx.Done():
					return
				case <-told:
					then()
				}
			}
		})
	}
}

func (s *sentinels) close() error {
	var errs []error
	for _, one := range s.all {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// clusterOptions are those of go-redis's own routing, which dials by itself.
func clusterOptions(o Options) (*redis.ClusterOptions, error) {
	opts, err := redis.ParseClusterURL(o.URL)
	if err != nil {
		return nil, urlError(err, o.URL)
	}
	opts.Protocol, opts.DisableIdentity, opts.MaintNotificationsConfig = protocol, true, noNotifications
	opts.MaxRetries, opts.DialerRetries, opts.ContextTimeoutEnabled = maxRetries, dialerRetries, true
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = opLife, opLife, opLife, opLife
	opts.PipelinePoolSize, opts.PoolSize, opts.MaxRedirects = pipelinePool, 4, maxRedirects
	opts.ClientName = clientName(o.NodeID, "control")
	return opts, nil
}
