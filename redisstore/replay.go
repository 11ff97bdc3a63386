package redisstore

import presence "presencesets"

// Release says that another socket has the connection. Nothing is written;
// what this one was handed is kept for whoever asks.
func (s *Store) Release(presence.Detachment) {}

// Late asks the node with stamp from for the acknowledgements that it owes to
// conn. answer is called once, on any goroutine: with nil where there are none.
func (s *Store) Late(_ presence.ConnID, _ string, answer func(payloads [][]byte)) { answer(nil) }
