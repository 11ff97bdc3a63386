package redisstore

import (
	"fmt"
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestEachShardHasOneFirstNode(t *testing.T) {
	t.Parallel()
	var stamps []string
	var before [shards]string
	for n := 1; n <= 5; n++ {
		newest := fmt.Sprintf("n%d.7", n)
		stamps = append(stamps, newest)
		var owner [shards]string
		for _, stamp := range stamps {
			count := 0
			for shard, own := range ownShards(stamp, stamps) {
				if !own {
					continue
				}
				count++
				if owner[shard] != "" {
					t.Errorf("shard %d is that of %s and of %s", shard, owner[shard], stamp)
				}
				owner[shard] = stamp
			}
			if fair := shards / n; count < fair*6/10 || count > fair*15/10 {
				t.Errorf("%s has %d shards of %d nodes, want about %d", stamp, count, n, fair)
			}
		}
		for shard, stamp := range owner {
			if stamp == "" {
				t.Errorf("shard %d is nobody's", shard)
			}
			if n > 1 && stamp != before[shard] && stamp != newest {
				t.Errorf("shard %d went from %s to %s as %s came", shard, before[shard], stamp, newest)
			}
		}
		before = owner
	}
	if own := ownShards("n9.1", stamps); own != [shards]bool{} {
		t.Error("a node that is not alive has shards")
	}
}

func TestTheLineupIsWhoHoldsALease(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := idle(t, srv, prefix, "n1")
	pretend(t, rdb, s.keys, "n2.1", `{"probe_ms":5}`)
	pretend(t, rdb, s.keys, "n3.1", `{"probe_ms":5,"draining":true}`)
	pretend(t, rdb, s.keys, "n4.1", `{"probe_ms":-1}`)
	pretend(t, rdb, s.keys, "n5.1", `{"probe_ms":20000}`)
	pretend(t, rdb, s.keys, "n6.1", `somebody's hand`)
	pretend(t, rdb, s.keys, "n7.1", `{"probe_ms":5}`)
	pretend(t, rdb, s.keys, "n8.1", `{"probe_ms":5}`)
	if err := rdb.HDel(t.Context(), s.keys.registry(), "n7.1").Err(); err != nil { // condemned
		t.Fatal(err)
	}
	lapse(t, rdb, s.keys, "n8.1")
	s.reaper.halted.Store(true)
	lineup, err := s.readLineup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for i := range lineup.others {
		got[lineup.others[i].stamp] = lineup.others[i].ready()
	}
	want := map[string]bool{"n2.1": true, "n3.1": false, "n4.1": false, "n5.1": false, "n6.1": false}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("others, and whether they are ready: got %v, want %v", got, want)
	}
	if lineup.stamp != s.Stamp() || !lineup.ready() {
		t.Errorf("lineup: got %+v", lineup)
	}
}

func TestRingsOfOtherNodesShardsAreNotTaken(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := idle(t, srv, prefix, "n1")
	pretend(t, srv.Client(t), s.keys, "n2.1", `{}`)
	c := still(t, s)
	for range 100 {
		conn := presence.NewConnID()
		if got, want := c.rung(ring{conn, 1}), c.lineup.own[conn.Shard()]; got != want {
			t.Errorf("ring in shard %d: taken %v, want %v", conn.Shard(), got, want)
		}
	}
}
