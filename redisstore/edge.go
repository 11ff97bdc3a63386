package redisstore

import (
	"sync/atomic"

	presence "presencesets"
)

// edge is the node whose connections this store keeps. Before there is one
// nobody has a connection, so what is told goes nowhere, and what is asked has
// the answer "none". The store tells and asks on many goroutines, some of which
// run before the node is there.
type edge struct {
	to atomic.Pointer[presence.Edge]
}

// Attach tells the store whose connections it keeps. It must be called before
// the first operation; until then there is nobody to tell or ask.
func (s *Store) Attach(e presence.Edge) { s.edge.(*edge).to.Store(&e) }

func (e *edge) Taken(conn presence.ConnID, inc int64) {
	if to := e.to.Load(); to != nil {
		(*to).Taken(conn, inc)
	}
}

func (e *edge) Late(conn presence.ConnID, answer func(payloads [][]byte)) {
	if to := e.to.Load(); to != nil {
		(*to).Late(conn, answer)
		return
	}
	answer(nil)
}

func (e *edge) Connections(answer func([]presence.Held)) {
	if to := e.to.Load(); to != nil {
		(*to).Connections(answer)
		return
	}
	answer(nil)
}

func (e *edge) Reclaim(epoch int64) {
	if to := e.to.Load(); to != nil {
		(*to).Reclaim(epoch)
	}
}
