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

func (f *feed) resetEchoes() { f.echo = echoes{} }

// barrier does do when everything that Redis has pushed until now has been
// seen, or never when the link ends before: whoever needs it then is told by
// the check after the next confirmation.
func (f *feed) barrier(do func()) {
	if f.link == nil || !f.link.up {
		return
	}
	f.echo.wanted = true
	f.echo.barriers = append(f.echo.barriers, barrier{f.echo.sent + 1, do})
}

// sendEcho sends one echo for all who asked in this turn of the loop.
func (f *feed) sendEcho() {
	f.echo.wanted = false
	f.echo.sent++
	f.link.send(command{verbPing, pingPayload(f.echo.sent)})
}

// echoed is told of each answer.
func (f *feed) echoed(payload string) {
	n, ok := parsePing(payload)
	if !ok || n > f.echo.sent {
		return
	}
	f.echo.back = n
	for len(f.echo.barriers) > 0 && f.echo.barriers[0].echo <= n {
		b := f.echo.barriers[0]
		f.echo.barriers = f.echo.barriers[1:]
		b.do()
	}
}

// beatEcho sends the beat's echo. It returns false when the one of two beats
// ago is still not back: the link is dead, whatever TCP thinks.
func (f *feed) beatEcho() bool {
	if due := f.echo.atBeat[0]; f.echo.back < due {
		return false
	}
	f.sendEcho()
	f.echo.atBeat[0], f.echo.atBeat[1] = f.echo.atBeat[1], f.echo.sent
	return true
}
