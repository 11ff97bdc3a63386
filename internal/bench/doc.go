// Package bench measures a node from outside: CPU and memory of its process
// under a load that this process makes, beside a floor in C (tools/floor) that
// gets equally long frames on as many sockets in the same run.
//
//	bench process                         measured processes
//	┌──────────────────────────┐  ws      ┌──────────────┐     ┌───────┐
//	│ fleet: one thread, one   │─────────▶│ presence     │────▶│ redis │
//	│ epoll, no goroutine and  │          │ serve        │     └───────┘
//	│ no garbage a connection  │─────────▶│ floor (C)    │
//	└──────────────────────────┘          └──────────────┘
//
// The rounds are interleaved, ours and the floor's in turn, and the medians
// are compared: figures of different runs differ by tens of per cent on a busy
// machine, ratios of one run do not. Nothing here asserts anything; a case
// that cannot finish is an error, a slow one is a number.
//
// It starts everything that it measures and ends only that. Linux only.
package bench
