package redisstore

// An echo is a PING that travels on the feed's link; its answer comes behind
// every event that Redis pushed before it. So what was read on another
// connection before the echo was sent can be compared, once it is back, with
// all the events that the reading may hold. The same echoes show that the link
// is alive: one is sent with each beat of the lease.

// barrier is something to do when an echo is back.
type barrier struct {
	echo uint64
	do   func()
}

// echoes is the state of a link's echoes. Owned by the loop.
type echoes struct {
	sent, back uint64
	atBeat     [2]uint64 // what had been sent at the two beats before
	barriers   []barrier // in order
	wanted     bool      // a barrier waits for an echo that is not sent yet
}

func (u *upstream) resetEchoes() { u.echo = echoes{} }

// barrier does do when everything that this master has pushed until now has
// been seen, or never when the link ends before: whoever needs it then is told by
// the check after the next confirmation.
func (u *upstream) barrier(do func()) {
	if u.link == nil || !u.link.up {
		return
	}
	u.echo.wanted = true
	u.echo.barriers = append(u.echo.barriers, barrier{u.echo.sent + 1, do})
}

// sendEcho sends one echo for all who asked in this turn of the loop.
func (u *upstream) sendEcho() {
	u.echo.wanted = false
	u.echo.sent++
	u.link.send(command{verb: verbPing, arg: pingPayload(u.echo.sent)})
}

// echoed is told of each answer.
func (u *upstream) echoed(payload string) {
	n, ok := parsePing(payload)
	if !ok || n > u.echo.sent {
		return
	}
	u.echo.back = n
	for len(u.echo.barriers) > 0 && u.echo.barriers[0].echo <= n {
		b := u.echo.barriers[0]
		u.echo.barriers = u.echo.barriers[1:]
		b.do()
	}
}

// beatEcho sends the beat's echo. It returns false when the one of two beats
// ago is still not back: the link is dead, whatever TCP thinks.
func (u *upstream) beatEcho() bool {
	if due := u.echo.atBeat[0]; u.echo.back < due {
		return false
	}
	u.sendEcho()
	u.echo.atBeat[0], u.echo.atBeat[1] = u.echo.atBeat[1], u.echo.sent
	return true
}
