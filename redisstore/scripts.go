package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/scripts"
)

// script is one Lua script as a call names it.
type script struct {
	name   string
	source string
	sha    string
	boxed  any // sha, in an interface already: no allocation a call
}

func newScript(name string) script {
	s := scripts.Get(name)
	return script{name: s.Name, source: s.Source, sha: s.SHA, boxed: s.SHA}
}

// loadScripts makes Redis know every script. Scripts are not replicated: after
// a restart or a failover they are gone, and a call answers NOSCRIPT. It
// blocks for one round trip.
func loadScripts(ctx context.Context, client redis.UniversalClient) error {
	pipe := client.Pipeline()
	all := scripts.All()
	loads := make([]*redis.StringCmd, len(all))
	for i, s := range all {
		loads[i] = pipe.ScriptLoad(ctx, s.Source)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("load the scripts: %w", err)
	}
	for i, s := range all {
		if sha := loads[i].Val(); sha != s.SHA {
			return fmt.Errorf("load the script %s: Redis names it %s, we %s", s.Name, sha, s.SHA)
		}
	}
	return nil
}

// call runs one script by itself, for those that do not go through a lane. It
// blocks for a round trip, some more when a master has forgotten the script.
func (s *Store) call(ctx context.Context, sc script, keys []string, args ...any) (any, error) {
	reply, err := s.control().EvalSha(ctx, sc.sha, keys, args...).Result()
	if fateOf(err) != fateNoScript {
		return reply, err
	}
	if err := s.masters.load(ctx); err != nil {
		return nil, err
	}
	return s.control().EvalSha(ctx, sc.sha, keys, args...).Result()
}

// fate says how a whole call ended, for what it carried.
type fate uint8

const (
	fateAnswered    fate = iota // no error: each operation has its own result
	fateNoScript                // did not run: Redis has to be told the script
	fateFencedLease             // refused: our lease has ended by Redis's clock
	fateFencedInc               // refused: somebody took the connection over
	fateMemory                  // refused: Redis is out of memory
	fateAway                    // refused: Redis cannot serve just now
	fateMoved                   // refused: another master has the slot, or gets it just now
	fateBroken                  // refused: a key of ours holds something else
	fateFailed                  // an error in the middle: may have taken effect
	fateLost                    // no answer: may have taken effect, now or later
)

// refusals are the errors with which Redis answers before it runs anything.
var refusals = []struct {
	prefix string
	fate   fate
}{
	{"NOSCRIPT", fateNoScript},
	{"FENCED lease", fateFencedLease},
	{"FENCED", fateFencedInc},
	{"BROKEN", fateBroken},
	{"OOM", fateMemory},
	{"MOVED", fateMoved},
	{"ASK ", fateMoved},
	{"TRYAGAIN", fateMoved},
	{"LOADING", fateAway},
	{"EXECABORT", fateAway}, // a MULTI while Redis loads its data
	{"BUSY", fateAway},
	{"READONLY", fateAway},
	{"MASTERDOWN", fateAway},
	{"NOREPLICAS", fateAway},
	{"MISCONF", fateAway},
	{"CLUSTERDOWN", fateAway},
	{"NOAUTH", fateAway},
	{"WRONGPASS", fateAway},
	{"NOPERM", fateAway},
	{"ERR max number of clients", fateAway},
}

// fateOf reads the error of a whole call.
func fateOf(err error) fate {
	if err == nil || errors.Is(err, redis.Nil) {
		return fateAnswered
	}
	var answer redis.Error
	if !errors.As(err, &answer) {
		return fateLost
	}
	return fateOfText(answer.Error())
}

func fateOfText(text string) fate {
	for _, r := range refusals {
		if strings.HasPrefix(text, r.prefix) {
			return r.fate
		}
	}
	return fateFailed
}

// outcome is the result of one operation in a call: a number, or a word.
type outcome struct {
	number int64
	word   string // "" for a number
}

// outcomeOf reads one element of a reply. Scripts answer with a number, with
// a number as text, with a word (FULL, ABSENT, LATER) or with an error.
func outcomeOf(v any) outcome {
	switch v := v.(type) {
	case int64:
		return outcome{number: v}
	case string:
		if n, ok := parseDecimal([]byte(v)); ok {
			return outcome{number: n}
		}
		return outcome{word: v}
	case error:
		return outcome{word: v.Error()}
	}
	return outcome{word: fmt.Sprintf("unreadable %T", v)}
}

// strs reads a reply that is a list of texts; ok is false for any other.
func strs(reply any) (list []string, ok bool) {
	items, ok := reply.([]any)
	if !ok {
		return nil, false
	}
	list = make([]string, len(items))
	for i, item := range items {
		switch item := item.(type) {
		case string:
			list[i] = item
		case int64:
			list[i] = fmt.Sprint(item)
		default:
			return nil, false
		}
	}
	return list, true
}

// refusal is what a caller is told about a word that is not a success.
func refusal(op *presence.Op, o outcome) *presence.Error {
	switch word := o.word; {
	case word == "FULL" && op.Kind == presence.OpTrack:
		return presence.Errorf(presence.CodeLimit, "the connection is in %d rooms, which is the limit",
			op.MaxRooms).WithField("roomId").WithLimit(int64(op.MaxRooms))
	case word == "FULL":
		return presence.Errorf(presence.CodeLimit, "the room has %d members, which is the limit",
			op.MaxMembers).WithField("roomId").WithLimit(int64(op.MaxMembers))
	case word == "ABSENT":
		return presence.Errorf(presence.CodeNotMember, "the connection is not a member of the room")
	case word == "EXISTS":
		err := presence.Errorf(presence.CodeUnavailable, "the connection id is taken")
		err.RetryAfterMs = 1000
		return err
	default:
		return fateError(op, fateOfText(word), word)
	}
}

// fateError is what a caller is told about a refused or failed call; text
// is Redis's, and goes no further where it could say more than it should.
func fateError(op *presence.Op, f fate, text string) *presence.Error {
	switch f {
	case fateFencedLease:
		return presence.Errorf(presence.CodeFenced, "this node's lease has ended; it may not write")
	case fateFencedInc:
		return presence.Errorf(presence.CodeFenced, "the connection is no longer this node's")
	case fateMemory:
		return presence.Errorf(presence.CodeUnavailable, "Redis is out of memory; only leaving works")
	case fateAway, fateNoScript, fateMoved:
		word, _, _ := strings.Cut(text, " ")
		return presence.Errorf(presence.CodeUnavailable, "Redis cannot serve the request now (%s)", word)
	case fateBroken:
		return presence.Errorf(presence.CodeInternal, "the %s key in Redis does not hold what it should", keyKind(op))
	case fateLost:
		return presence.Errorf(presence.CodeUnavailable, "Redis did not answer in time")
	}
	return presence.Errorf(presence.CodeInternal, "Redis failed to run %s", op.Kind)
}

// keyKind names the kind of key that an operation works on.
func keyKind(op *presence.Op) string {
	switch op.Kind {
	case presence.OpOpen, presence.OpResume, presence.OpTrack, presence.OpUntrack, opAdopted, opOwner, opClaim:
		return "session"
	}
	return "members"
}
