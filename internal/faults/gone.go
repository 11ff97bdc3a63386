package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// goneAtOnce is how many clients go in one moment.
const goneAtOnce = 200

// emptied has everybody go, and waits until nothing is left of them.
func (f *field) emptied(ctx context.Context, start footprint) *result {
	r := &result{redis: f.o.Redis, name: "everybody gone"}
	began := time.Now()
	f.st.do(func() { f.reset(r) })
	// In waves: what thousands that go in one moment wait for is this machine.
	for rest := f.clients; len(rest) > 0; {
		wave := rest[:min(len(rest), goneAtOnce)]
		rest = rest[len(wave):]
		f.st.do(func() {
			for i, c := range wave {
				if c.phase == on && i%2 == 0 {
					c.goFor(closed)
				} else {
					c.goFor(timeout)
				}
			}
		})
		if len(rest) > 0 && f.pass(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	if err := f.agree(ctx, f.times.bound(timeout)+5*time.Second); err != nil {
		r.fail("%v", err)
	}
	f.st.do(func() {
		zero := make([]float64, len(f.nodes))
		f.count(r, &cell{}, zero, zero)
		for _, o := range f.observers {
			o.leave()
		}
		f.observers = nil
	})
	var now footprint
	late := time.Now().Add(f.times.retention + f.times.bound(timeout) + 10*time.Second)
	for {
		var err error
		if now, err = f.footprint(ctx); err != nil {
			r.fail("%v", err)
			break
		}
		err = nil
		if now.keys > start.keys {
			err = fmt.Errorf("DBSIZE is %d, at the start %d: %s", now.keys, start.keys, f.remains(ctx))
		}
		for i := range f.nodes {
			if now.descriptors[i] > start.descriptors[i]+poolSlack {
				err = errors.Join(err, fmt.Errorf("n%d has %d descriptors, at the start %d", i+1, now.descriptors[i], start.descriptors[i]))
			}
		}
		if err == nil {
			break
		}
		if time.Now().After(late) {
			r.fail("%v", err)
			break
		}
		if f.pass(ctx, 500*time.Millisecond) != nil {
			break
		}
	}
	r.took = time.Since(began)
	r.remark = fmt.Sprintf("DBSIZE %d → %d; descriptors %v → %v; RSS in MiB %v → %v", start.keys, now.keys, start.descriptors, now.descriptors, mib(start.rss), mib(now.rss))
	f.st.do(func() { r.notes = f.notes })
	return r
}

func mib(list []int64) []int64 {
	var m []int64
	for _, b := range list {
		m = append(m, b>>20)
	}
	return m
}

// remains names some of the keys that are left.
func (f *field) remains(ctx context.Context) string {
	var keys []string
	err := f.redis.each(ctx, func(c *redis.Client) error {
		list, err := c.Keys(ctx, "*").Result()
		keys = append(keys, list...)
		return err
	})
	if err != nil {
		return err.Error()
	}
	slices.Sort(keys)
	return strings.Join(keys[:min(len(keys), 8)], " ")
}
