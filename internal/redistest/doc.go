// Package redistest runs real redis-servers for tests: a private port and
// socket, a folder of its own, ended by process id and never by name.
//
//	func TestMain(m *testing.M) { redistest.Main(m) } // ends the shared server, then looks for leaked goroutines
//
//	s := redistest.Shared(t)        // one server per test process
//	p := redistest.Prefix(t)        // this test's own keys in it
//	s := redistest.Start(t)         // or a server of its own, for faults:
//	s.Pause(t)                      // … hangs without an error, until Resume
//	s.Kill(t); s.Restart(t)         // … gone, and back on the same port, empty
//	s := redistest.StartSentinel(t) // a master, a replica and three sentinels: s.Failover(ctx)
//	c := redistest.StartCluster(t, 1) // three masters with a replica each: c.Failover(ctx, key)
//	c.Move(ctx, key, server, 0)     // … a slot changes its master under load
//
// Each has a Launch beside it for programs that are no tests. trouble.go makes
// what commands can make: memory full, links killed, notifications off.
//
// A test never skips for want of Redis: without the binary it fails, with the
// line to type. PRESENCE_TEST_REDIS or PRESENCE_REDIS may name the binary.
//
// The child cannot outlive the test process, whatever ends that: on Linux it
// has a parent death signal. That signal follows the *thread* which started
// the child, so every server keeps one locked thread.
package redistest
