package redisstore

import (
	presence "presencesets"
)

// Detach begins the grace of a connection whose socket was lost. It never
// blocks and cannot fail, as Depart.
func (s *Store) Detach(d presence.Detachment) {
	s.Depart(presence.Departure{
		App: d.App, Conn: d.Conn, Inc: d.Inc, Reason: d.Reason, Rooms: d.Rooms, Unanswered: d.Unanswered,
	})
}
