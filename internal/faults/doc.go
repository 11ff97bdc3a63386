// Package faults breaks a running deployment on purpose and looks at what
// clients and observers were told: the fault suite behind `make faults`.
//
//	go run ./internal/faults/suite            # the short form, 2 minutes
//	go run ./internal/faults/suite --long     # 100,000 memberships, default times
//	go run ./internal/faults/suite --redis sentinel --only .
//	go run ./internal/faults/suite --redis cluster --only .
//
// A field is a real Redis, with a proxy before each server (deployment.go),
// three `presence serve` processes, each with a proxy between it and some of its
// clients, an observer of every room on each node, and clients that come, change, go, are lost and
// come back as the public client does. A cell is one fault: churn, the fault,
// its repair, quiet, and then the count:
//
//   - each membership began with one join and ended with one leave, in the
//     stream of each observer (invariant 2);
//   - nobody who is connected was reported gone (4, 11);
//   - what an observer folds from its events is what Redis holds, and that is
//     what the clients were acknowledged: no ghost, no missing member (1, 6);
//   - the latest leave was in time, for each way to end (3);
//   - every request was answered in time.
//
// Everything that is known is owned by one goroutine, the stage: a socket's
// reader posts what came, timers post what is due, and the script of a cell
// asks through [stage.do]. So no two views of one moment can differ.
//
// What a failover loses, the nodes restore; observers may be told of it, and only
// of memberships that changed just then (failovers.go).
//
// To add a fault: a cell in cells.go. It says whom it affects (field.strike)
// and when it is repaired (field.repaired): the bounds are moved by that and
// by nothing else.
package faults
