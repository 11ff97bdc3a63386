// Package e2e tests what we deploy as it is deployed: the built program, two
// nodes on one real Redis, and HAProxy with the file of deploy/haproxy in front
// of both. It holds tests only.
package e2e
