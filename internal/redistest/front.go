package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// Front puts something, such as a proxy, before a server and returns its
// address, which is announced instead of the server's own: clients, sentinels
// and the other servers find it there. Only a Cluster's bus is not led through.
type Front func(s *Server) (addr string, err error)

// behind announces a front, now and after each Begin. With nil it does nothing.
func (s *Server) behind(ctx context.Context, front Front) error {
	if front == nil {
		return nil
	}
	addr, err := front(s)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	announced := [][2]string{{"replica-announce-ip", "127.0.0.1"}, {"replica-announce-port", port}}
	if s.role == member {
		announced = [][2]string{{"cluster-announce-port", port}, {"cluster-announce-bus-port", strconv.Itoa(s.port + 1)}}
	}
	c := s.Connect()
	defer c.Close()
	for _, a := range announced {
		if err := c.ConfigSet(ctx, a[0], a[1]).Err(); err != nil {
			return fmt.Errorf("announce %s: %w", addr, err)
		}
		s.args = append(s.args, "--"+a[0], a[1])
	}
	s.seen = addr
	return nil
}
