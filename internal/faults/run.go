package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

type nobody struct{}

func (nobody) Printf(context.Context, string, ...any) {}

// Run measures the cells of the form and returns their results, the last
// one of what is left when everybody has gone.
func Run(ctx context.Context, o Options) ([]*result, error) {
	redis.SetLogger(nobody{}) // a Redis that is killed is no news
	only, err := regexp.Compile(o.Only)
	if err != nil {
		return nil, err
	}
	if modes[o.Redis] == 0 {
		return nil, fmt.Errorf("there is no Redis %q: want single, sentinel or cluster", o.Redis)
	}
	var results []*result
	var f *field
	base := o.Dir
	var start footprint
	defer func() {
		if f != nil {
			_ = f.close() // what went wrong is in the results
		}
	}()
	for i := range cells {
		c := &cells[i]
		if c.modes&modes[o.Redis] == 0 {
			continue
		}
		if o.Only != "" && !only.MatchString(c.name) || o.Only == "" && !o.Long && !c.short {
			continue
		}
		if f == nil {
			began := time.Now()
			o.Dir = filepath.Join(base, strconv.Itoa(len(results)+1))
			if err = os.Mkdir(o.Dir, 0o755); err != nil {
				return results, err
			}
			if f, err = newField(ctx, o); err != nil {
				return results, err
			}
			if start, err = f.footprint(ctx); err != nil {
				return results, err
			}
			if err = f.populate(ctx); err != nil {
				return results, err
			}
			o.Log("%s: %d clients, %d memberships, %d rooms, 3 nodes and observers after %.1f s", o.Redis, o.Clients, o.Clients*o.Each, o.Rooms, time.Since(began).Seconds())
		}
		r := f.measure(ctx, c)
		results = append(results, r)
		o.Log("%s", r.line())
		if o.Keep {
			r.keep(f)
		}
		if len(r.failures) > 0 { // what is broken now must not be counted against the next
			r.keep(f)
			if err := f.close(); err != nil {
				o.Log("close: %v", err)
			}
			f = nil
		}
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
	}
	if f != nil {
		r := f.emptied(ctx, start)
		results = append(results, r)
		o.Log("%s", r.line())
		if len(r.failures) > 0 {
			r.keep(f)
		}
	}
	return results, nil
}
