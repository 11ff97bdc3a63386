package e2e

import (
	"testing"

	"presencesets/internal/netfault"
)

// link is the wire between a node and Redis, which a test can cut and mend.
type link struct {
	addr, to string
	proxy    *netfault.Proxy // nil while it is cut
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l := &link{addr: freeAddr(t), to: to}
	l.mend(t)
	t.Cleanup(func() { l.cut(t) })
	return l
}

// mend lets connections through (again).
func (l *link) mend(t *testing.T) {
	t.Helper()
	proxy, err := netfault.ListenOn(l.addr, l.to)
	if err != nil {
		t.Fatal(err)
	}
	l.proxy = proxy
}

// cut ends every connection and refuses new ones.
func (l *link) cut(t *testing.T) {
	t.Helper()
	if l.proxy == nil {
		return
	}
	if err := l.proxy.Close(); err != nil {
		t.Error(err)
	}
	l.proxy = nil
}
