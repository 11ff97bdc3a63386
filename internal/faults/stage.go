package faults

import (
	"sync"
	"time"
)

// stage runs what is posted, one after the other, on one goroutine.
type stage struct {
	mu    sync.Mutex
	queue []func()
	ended bool
	wake  chan struct{}
	done  chan struct{} // closed when run has returned
}

func newStage() *stage {
	s := &stage{wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.run()
	return s
}

// post has f run on the stage. It never blocks; after end f is dropped.
func (s *stage) post(f func()) {
	s.mu.Lock()
	if !s.ended {
		s.queue = append(s.queue, f)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// do has f run on the stage and returns when it has. Not from the stage.
func (s *stage) do(f func()) {
	ran := make(chan struct{})
	s.post(func() { f(); close(ran) })
	select {
	case <-ran:
	case <-s.done:
	}
}

// after has f run on the stage when d has passed.
func (s *stage) after(d time.Duration, f func()) { time.AfterFunc(d, func() { s.post(f) }) }

func (s *stage) run() {
	defer close(s.done)
	for range s.wake {
		for {
			s.mu.Lock()
			batch, ended := s.queue, s.ended
			s.queue = nil
			s.mu.Unlock()
			if ended {
				return
			}
			if len(batch) == 0 {
				break
			}
			for _, f := range batch {
				f()
			}
		}
	}
}

// end stops the stage and waits for it.
func (s *stage) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	<-s.done
}
