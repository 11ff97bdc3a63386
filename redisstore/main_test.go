package redisstore

import (
	"testing"

	"go.uber.org/goleak"

	"presencesets/internal/redistest"
)

func TestMain(m *testing.M) {
	// A pool that lost its server looks every second whether it was closed
	// meanwhile, and ends then.
	redistest.Main(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
