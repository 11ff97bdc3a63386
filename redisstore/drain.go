package redisstore

import "context"

// BeginDrain blocks until this node may drain.
func (s *Store) BeginDrain(context.Context) error { return nil }
