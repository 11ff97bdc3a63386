package faults

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// observer subscribes to every room and keeps what it is told: the members,
// folded from the events, and how often each was told to come and to go.
type observer struct {
	f       *field
	name    string
	node    int
	sock    *socket
	id      string
	rooms   []*view
	asked   map[string]*view // gets under way, by ackId
	ready   int              // rooms with a snapshot
	attempt int

	// since the last count
	events  int
	twice   int  // events that came again, which a resume may do
	lost    int  // sockets
	resumed int  //
	rebased bool // it took a new snapshot: what came and went before it is untold
	dead    bool // it failed: its violation is noted
}

// view is one room as an observer knows it.
type view struct {
	index   int
	base    int64             // of the snapshot: what is at or below it is in it
	rev     int64             // of the last event
	at      map[string]bool   // events at rev: those of one repair share it
	members map[string]string // connection → data
	tallies map[string]*tally
	early   []heldEvent // before the snapshot
	folded  bool
}

type heldEvent struct {
	at time.Time
	f  frame
}

func (f *field) observe(node int) *observer {
	f.names++
	o := &observer{f: f, node: node, name: "o" + strconv.Itoa(f.names), asked: map[string]*view{}}
	for i := range f.rooms {
		o.rooms = append(o.rooms, &view{index: i, members: map[string]string{}, tallies: map[string]*tally{}})
	}
	o.connect()
	return o
}

func (o *observer) connect() {
	if o.dead {
		return
	}
	o.node = o.f.pick(o.node)
	q := "apiKey=" + url.QueryEscape(apiKey) + "&clientId=" + o.name
	if o.id != "" {
		q += "&connectionId=" + url.QueryEscape(o.id)
	}
	o.f.st.dial(o.f.nodes[o.node].addr, q, func(k *socket, err error) {
		var no *refused
		switch {
		case o.dead && err == nil:
			k.close(byFrame)
		case o.dead:
		case errors.As(err, &no) && no.status != 503:
			o.f.violate("an observer cannot come back", "%s %s at n%d: %v", o.name, o.id, o.node+1, err)
			o.dead = true
		case err != nil:
			o.again()
		default:
			o.sock = k
			k.heard = o.heard
			k.over = func(code ws.StatusCode, err error) {
				o.lost++
				o.f.note("observer %s %s lost its socket to n%d: %d %v", o.name, o.id, o.node+1, code, err)
				if o.f.crashed[o.node] {
					o.rebased = true // its node died: it knows nothing about what was on the way
				}
				o.sock = nil
				o.attempt = 0
				o.again()
			}
		}
	})
}

// again comes back as the public client does, to another node.
func (o *observer) again() {
	o.attempt++
	base := min(10*time.Second, time.Second<<(o.attempt-1))
	o.node = (o.node + 1) % len(o.f.nodes)
	o.f.st.after(base+base/2, o.connect)
}

func (o *observer) send(op, body string) string {
	o.f.asked++
	id := strconv.FormatInt(o.f.asked, 36)
	o.sock.write(masked(ws.OpText, []byte(`{"type":"ds:client:`+op+`","body":{`+body+`},"ackId":"`+id+`"}`)))
	return id
}

func (o *observer) heard(at time.Time, frames []frame) {
	for i := range frames {
		f := &frames[i]
		switch {
		case f.Type == firstType:
			o.welcome(f.Body.ConnectionID)
		case f.Type == ackType:
			o.answered(at, f)
		case f.Body.Event != "":
			room := f.Type[len(app)+1 : strings.Index(f.Type, ":$:")]
			v := o.rooms[o.f.index(room)]
			if !v.folded {
				v.early = append(v.early, heldEvent{at, *f})
				continue
			}
			o.take(v, at, f)
		}
	}
}

func (o *observer) welcome(id string) {
	if o.id != "" {
		o.resumed++
		if o.id != id {
			o.f.violate("a resume gave another id", "%s had %s and got %s", o.name, o.id, id)
		}
		if o.rebased {
			for _, v := range o.rooms {
				v.folded = false
				o.ready--
				o.get(v)
			}
		}
		o.id = id
		return
	}
	o.id = id
	for _, v := range o.rooms {
		r := `"roomId":"` + o.f.room(v.index) + `"`
		o.send("room:join", r)
		for _, e := range []string{"join", "leave", "update"} {
			o.send("room:presence:subscribe", r+`,"event":"`+e+`"`)
		}
		o.get(v)
	}
}

func (o *observer) get(v *view) {
	o.asked[o.send("room:presence:get", `"roomId":"`+o.f.room(v.index)+`"`)] = v
}

func (o *observer) answered(at time.Time, f *frame) {
	v := o.asked[f.Body.AckID]
	delete(o.asked, f.Body.AckID)
	if e := f.Body.Err; e != nil {
		if v != nil && e.Retry {
			o.f.st.after(300*time.Millisecond, func() {
				if o.sock != nil {
					o.get(v)
				}
			})
			return
		}
		o.f.violate("an observer's request is refused", "%s at n%d: %s %s", o.name, o.node+1, e.Code, e.Message)
		return
	}
	if v == nil {
		return
	}
	var list []listed
	if err := json.Unmarshal(f.Body.Data, &list); err != nil {
		o.f.violate("a list is not one", "%s: %v", o.name, err)
		return
	}
	now := map[string]string{}
	for _, m := range list {
		now[m.ID] = string(m.Data)
		if _, known := v.members[m.ID]; !known {
			v.tally(m.ID).joins++
		}
	}
	for id := range v.members {
		if _, here := now[id]; !here {
			t := v.tally(id)
			t.leaves = append(t.leaves, told{})
		}
	}
	v.members, v.base, v.rev, v.at, v.folded = now, f.Body.Revision, f.Body.Revision, nil, true
	o.ready++
	for _, e := range v.early {
		o.take(v, e.at, &e.f)
	}
	v.early = nil
}

func (v *view) tally(id string) *tally {
	t := v.tallies[id]
	if t == nil {
		t = &tally{}
		v.tallies[id] = t
	}
	return t
}

// take folds one event.
func (o *observer) take(v *view, at time.Time, f *frame) {
	b := &f.Body
	if b.Revision < v.rev || b.Revision <= v.base || b.Revision == v.rev && v.at[b.Event+b.ID] {
		o.twice++
		return
	}
	if b.Revision > v.rev {
		v.at = map[string]bool{}
	}
	v.rev = b.Revision
	v.at[b.Event+b.ID] = true
	o.events++
	t := v.tally(b.ID)
	_, here := v.members[b.ID]
	wrong := ""
	switch b.Event {
	case "join":
		if here {
			wrong = "a join of a member"
		}
		t.joins++
		v.members[b.ID] = string(b.Data)
	case "update":
		switch {
		case here:
		case o.rebased:
			// It took its list while Redis lacked a member that the others know: to
			// them it never left, so that it is there again is no join.
			t.joins++
		default:
			wrong = "an update of no member"
		}
		t.updates++
		v.members[b.ID] = string(b.Data)
	case "leave":
		if !here && o.rebased && b.Reason == "unknown" {
			break // as above, and it did not come back
		}
		if !here {
			wrong = "a leave of no member"
		}
		done, err := time.Parse(time.RFC3339, b.Timestamp)
		if err != nil {
			wrong = "a leave without a time"
		}
		t.leaves = append(t.leaves, told{at, done, b.Reason})
		delete(v.members, b.ID)
	}
	if wrong != "" {
		o.f.violate(wrong, "%s at n%d, %s: %s %s rev %d %s", o.name, o.node+1, o.f.room(v.index), b.Event, b.ID, b.Revision, b.Reason)
	}
}

// begin forgets what was told until now, but for who is there.
func (o *observer) begin() {
	o.events, o.twice, o.lost, o.resumed, o.rebased = 0, 0, 0, 0, false
	for _, v := range o.rooms {
		v.tallies = make(map[string]*tally, len(v.members))
		for id := range v.members {
			v.tallies[id] = &tally{joins: 1}
		}
	}
}

// leave closes it.
func (o *observer) leave() {
	o.dead = true
	if o.sock != nil {
		o.sock.close(byFrame)
	}
}
