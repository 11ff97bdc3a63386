package redisstore

import (
	"testing"

	"presencesets/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }
