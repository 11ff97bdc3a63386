/*
 * departure.pml: the life and the end of one connection with one room, between two nodes and two reapers.
 *
 * Redis is the variables below; a script is an inline that runs in one step. What a process knows of it (a hold, a reaper)
 * may be old. Between any two steps everybody else may act, a node or a reaper may die, and what is on its way arrives at
 * any time, as long as its validUntil allows it.
 *
 * There are no numbers for time. A deadline is AHEAD or PAST, a write is valid or dead, and only these steps say when:
 *   lapse   a lease ends: what the stamp has on its way is dead
 *   fence   the fence of the session ends: what former owners have on their way is dead, and they are silent
 *   due     a deadline has come
 * Incarnations are counted: `clock` is the highest that was given, so it stands for Redis's TIME.
 *
 * -D flags: ATTEMPTS (handshakes, 1 to 3), CRASHES (of nodes), LAPSES (leases that end while their node lives), CLOSE (clean
 * closes), LOST (answers get lost), UPDATE (join again), SETLEAVE (leave the set, not the room), REAPERS (1, 2); MUT_x takes a guard away.
 */
#ifdef BREADTH /* a search in breadth, for the shortest trail, knows no hidden variables */
#define hidden
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef LAPSES
#define LAPSES 0
#endif
#ifndef UPDATE
#define UPDATE 0
#endif
#ifndef REAPERS
#define REAPERS 2
#endif

/* Names of small numbers. */
#define NONE 0
#define LIVE 1 /* states of the session */
#define GRACE 2
#define LEAVING 3
#define AWAY 4
#define AHEAD 1 /* of a deadline and of the fence */
#define PAST 2
#define P 1 /* flags of a listed room */
#define X 2
#define TIMEOUT 1 /* why it ends */
#define CLOSED 2

/* What a hold is about. IDLE is before its handshake, DONE after its end: only what it had on its way is left. */
#define IDLE 0
#define RESUME 1 /* on its way: resume */
#define OPEN 2 /* on its way: open */
#define HELP 3 /* was told LEAVING */
#define HELPLEAVE 4
#define HELPFINISH 5
#define ADOPTING 6 /* resumed, its adopt is not answered */
#define HELD 7 /* its client was answered */
#define DETACH 8 /* on its way, owed: detach */
#define CLOSING 9 /* on its way, owed: close */
#define ENDLEAVE 10
#define ENDFINISH 11
#define HELPCLAIM 12 /* was told LEAVING, read a grace that is over */
#define LOOK 13 /* detach answered 0: is there a session at all */
#define LASTLEAVE 14 /* there is none, or somebody else ends it: leave what the node knows of */
#define DONE 15

/* Room operations of a hold: one is on its way at a time. */
#define TRACK 1
#define JOIN 2
#define LEAVE 3 /* the set */
#define LEAVEROOM 4 /* the room: leave, then untrack */
#define UNTRACK 5
#define ADOPT 6
#define OLDLEAVE 7 /* what an earlier life left behind */
#define ADOPTED 8 /* from here on nothing of an earlier inc is adopted */

/* The sweep of a hold: one step is on its way. */
#define READ 1
#define SWEEP 2 /* leave with inc - 1 */
#define SWEEPX 3 /* the same, of a room that was read as left */
#define FORGET 4 /* untrack with x */
#define UNFENCE 5 /* untrack of the fence */

/* Stamps: of node n first n, later n + 2. */
#define LEASED 1
#define LAPSED 2
#define CONDEMNED 3
#define BURIED 4

typedef Hold {
  unsigned ph : 4; /* IDLE ... DONE */
  unsigned node : 1;
  unsigned stamp : 2;
  unsigned inc : 3;
  unsigned from : 3;
  unsigned newest : 3; /* of the handshake */
  unsigned op : 4; /* room operation without an answer */
  bit valid; /* it may still be applied */
  unsigned sweep : 3;
  unsigned room : 2; /* the room, as it knows: not listed, P, X */
  bit member; /* as it knows */
  bit fenced; /* resume told of a fence; of DETACH and CLOSING: their fence argument */
  bit own; /* takes its own connection back under a new stamp, and compares what it has */
  bit after; /* of a helper: it claimed after the fence */
}
typedef Reaper {
  unsigned ph : 2; /* 0 idle, 1 leave, 2 finish */
  unsigned inc : 3;
  bit after; /* its claim was after the fence */
}

Hold h[4]; /* by the number of the handshake; 0 is nobody */
Reaper r[2];

/* Redis: the session, its due entry, its index entries, the room, the stamps. */
unsigned s_state : 3; unsigned s_inc : 3; unsigned s_from : 3; unsigned s_node : 2;
unsigned s_fence : 2; unsigned s_room : 2; unsigned s_why : 2; unsigned due : 2;
bit listed[4];
bit member; unsigned m_inc : 3;
byte stamp[4];
unsigned clock : 3;

/* Nodes, and the client: its handshakes so far, the one that it is on, whether that was answered, and whether it knows
   that it is a member. life: the inc since which its memberships may be restored. quit: the inc on which its leave was
   acknowledged, until it asks to join again. */
bit down[2]; bit epoch[2];
unsigned crashes : 2; unsigned lapses : 2;
unsigned tried : 2; unsigned on : 2; bit answered; bit told; unsigned life : 3; unsigned quit : 3;

/* The invariants, by name. */
hidden byte ghost; /* a member that the session does not list */
hidden byte reported_gone; /* left, but neither did its client ask nor had its grace ended */
hidden byte acknowledged_lost; /* the client was told that it is a member, and is not */
hidden byte forgot_too_early; /* a former owner can still write where the room is forgotten */
hidden byte condemned_wrote;
hidden byte stolen; /* taken from the client's newest socket */
hidden byte earlier_life; /* a membership that had ended is back */
hidden byte came_back; /* the client is told that it is a member, and its leave had been acknowledged */
hidden byte unswept; /* a room that was left is listed, and no fence has anybody look at it again */
hidden byte undue; /* nothing will ever end it: not due and not live on a stamp that will be reaped */
hidden byte left_over; /* at the end of all activity */
hidden byte i, o, was, ok, alive, lost, next;
#define must(name, holds) name = !(holds); assert(!name)
#define is_alive(x) (h[x].ph == ADOPTING || h[x].ph == HELD)
#define current(x) (down[h[x].node] == 0 && h[x].stamp == h[x].node + 2 * epoch[h[x].node])
#define may_send(x) (current(x) && stamp[h[x].stamp] == LEASED)
#define writer(x) (h[x].op == JOIN && h[x].valid || h[x].ph == HELD && h[x].inc < s_inc && may_send(x))

inline check() {
  must(ghost, !member || s_room);
  must(acknowledged_lost, !(answered && told) || member && (h[on].ph != HELD || m_inc == h[on].inc));
  must(unswept, !(s_state == LIVE && s_room == X && !s_fence));
  must(undue, s_state == NONE || (s_state == LIVE -> listed[s_node] && stamp[s_node] != BURIED : due))
}

/* What is left of a hold that nobody has any more, in one form. */
inline tidy(x) {
  if
  :: h[x].ph == DONE ->
    h[x].newest = 0; h[x].room = 0; h[x].member = 0; h[x].fenced = 0; h[x].own = 0; h[x].after = 0;
    if :: !h[x].valid -> h[x].op = 0 :: else fi;
    if :: h[x].op != ADOPT -> h[x].from = 0 :: else fi;
    if :: !h[x].op && !h[x].sweep -> h[x].inc = 0; h[x].node = 0; h[x].stamp = 0 :: else fi
  :: else
  fi
}
inline forget(x) { h[x].ph = DONE; tidy(x) }
inline hangup(x) { if :: on == x -> on = 0; answered = 0 :: else fi; forget(x) }

/* What x has on its way in its room is dead. */
inline kill(x) {
  h[x].valid = 0;
  if :: !is_alive(x) -> h[x].op = 0 :: else fi;
  tidy(x)
}

inline wrote(x) { must(condemned_wrote, stamp[h[x].stamp] < CONDEMNED) }
inline silent() { must(forgot_too_early, !writer(1) && !writer(2) && !writer(3)) }

/* leave.lua. The one who removes the member is the one who publishes. */
inline leave(inc_) {
  if
#ifdef MUT_LEAVE_INC
  :: member ->
#else
  :: member && m_inc <= inc_ ->
#endif
    must(reported_gone, !told || s_state == LEAVING && s_inc == inc_ && !answered);
    member = 0; m_inc = 0; told = 0
  :: else
  fi
}

inline remove() {
  silent();
  s_state = NONE; s_inc = 0; s_from = 0; s_node = 0; s_fence = 0; s_room = 0; s_why = 0; due = 0
}

/* finish.lua. after: the claim was later than the fence. */
inline finish(inc_, after_, retention) {
  if
#ifdef MUT_FINISH_INC
  :: s_state == LEAVING ->
#else
  :: s_state == LEAVING && s_inc == inc_ ->
#endif
    listed[s_node] = 0;
    if
#ifdef MUT_CLAIM_TIME
    :: s_fence == AHEAD -> s_state = AWAY; due = AHEAD
#else
    :: s_fence && !after_ -> s_state = AWAY; due = AHEAD
#endif
    :: else ->
      if
      :: retention && s_why != CLOSED && s_room -> s_fence = 0; s_state = AWAY; due = AHEAD
      :: else -> remove()
      fi
    fi
  :: else
  fi
}

/* claim.lua, for what is due. ok: it is leaving. */
inline claim() {
  ok = 0;
  if
  :: s_state == NONE || s_state == LIVE -> due = 0
  :: s_state == AWAY && !s_fence -> remove()
  :: else -> s_state = LEAVING; due = AHEAD; ok = 1; if :: !s_why -> s_why = TIMEOUT :: else fi
  fi
}

/* What a sweep has on its way does not count: it ends nothing that comes later. */
inline fence_of(x) { h[x].fenced = (h[x].op && h[x].valid) }
inline raise_fence(x) {
#ifndef MUT_FENCE
  if :: h[x].fenced -> s_fence = AHEAD :: else fi;
#endif
  skip
}

/* The first frame: from here the client knows. */
inline answer(x) {
  h[x].ph = HELD; h[x].own = 0; h[x].from = 0;
  if
  :: on == x -> answered = 1; told = h[x].member; must(came_back, !(told && quit))
  :: else
  fi
}

/* Every adopt is answered. Where an earlier owner may still write, what lands from now on is not to be adopted. */
inline adopted(x) {
#ifndef MUT_ADOPTED
  if
  :: h[x].fenced && h[x].from < h[x].inc -> h[x].op = ADOPTED; h[x].valid = may_send(x); h[x].ph = ADOPTING
  :: else -> answer(x)
  fi
#else
  answer(x)
#endif
}

/* One request of the client has been sent that asks for a membership, or gives it up. */
inline wants(x) { if :: h[x].inc >= quit -> quit = 0 :: else fi }
inline gives_up(x) { if :: on == x || !answered -> told = 0 :: else fi }
/* The answer to the latter has come. */
inline has_quit(x) { if :: on == x && answered -> quit = h[x].inc :: else fi }

/* resume.lua, and what the node does with its answer. */
inline resume(x) {
  if
  :: s_state == NONE -> if :: h[x].own -> hangup(x) :: else -> h[x].ph = OPEN fi
#ifndef MUT_NEWEST
  :: s_state && s_inc > h[x].newest -> hangup(x)
  :: s_state && s_inc <= h[x].newest ->
#else
  :: else ->
#endif
    if
    :: s_state == LEAVING || s_state == GRACE && due == PAST -> h[x].ph = HELP
    :: else ->
      wrote(x);
      must(stolen, !(answered && on != x && h[on].ph == HELD && stamp[h[on].stamp] < CONDEMNED));
      was = s_state; o = s_room;
#ifdef MUT_TIME
      s_inc++; if :: s_inc > clock -> clock = s_inc :: else fi;
#else
      clock++; s_inc = clock;
#endif
      if
      :: was == LIVE ->
#ifndef MUT_FENCE
        s_fence = AHEAD
#endif
        skip
      :: else -> due = 0
      fi;
      if
      :: was == AWAY ->
        life = s_inc; quit = 0;
        s_from = s_inc;
        if
        :: s_room && (s_why == CLOSED || s_room == X) ->
          if :: !s_fence -> silent(); s_room = NONE :: else -> s_room = X fi;
          o = s_room
        :: else
        fi
      :: else
      fi;
      listed[s_node] = 0; s_node = h[x].stamp; listed[s_node] = 1;
      s_state = LIVE; s_why = 0;
      h[x].inc = s_inc; h[x].from = s_from; h[x].fenced = (s_fence != 0); h[x].newest = 0;
      if :: !h[x].own -> h[x].room = o :: else fi;
      if
      :: !current(x) -> forget(x)
      :: else ->
        if
        :: h[x].own -> h[x].ph = ADOPTING
        :: !h[x].own && o == P && was != AWAY ->
          h[x].member = 0; h[x].op = ADOPT; h[x].valid = (stamp[h[x].stamp] == LEASED); h[x].ph = ADOPTING
        :: else -> h[x].member = 0; adopted(x)
        fi
      fi
    fi
  fi
}

inline open(x) {
  if
  :: s_state -> h[x].ph = RESUME
  :: else ->
    wrote(x);
#ifdef MUT_TIME
    s_inc = 1; if :: !clock -> clock = 1 :: else fi;
#else
    clock++; s_inc = clock;
#endif
    s_state = LIVE; s_from = s_inc; life = s_inc; quit = 0; s_node = h[x].stamp; listed[s_node] = 1;
    h[x].inc = s_inc; h[x].from = s_inc; h[x].newest = 0;
    if :: current(x) -> answer(x) :: else -> forget(x) fi
  fi
}

/* A reclaim compares what it has with what the session and the room have, and mends one difference. */
inline compare(x) {
  if
  :: h[x].room == P && s_room != P -> h[x].op = TRACK
  :: h[x].room == P && s_room == P && !member && h[x].member -> h[x].op = JOIN
  :: h[x].room == P && s_room == P && member && !h[x].member -> h[x].op = LEAVE
  :: h[x].room == P && s_room == P && member && h[x].member && m_inc < h[x].from -> h[x].op = OLDLEAVE
  :: h[x].room == P && s_room == P && member && h[x].member && m_inc >= h[x].from && m_inc < h[x].inc -> h[x].op = ADOPT
  :: h[x].room != P && s_room == P -> h[x].op = LEAVEROOM
  :: else ->
    if :: h[x].room != P -> h[x].room = s_room; h[x].member = 0 :: else fi;
    h[x].own = 0; adopted(x)
  fi;
  if :: h[x].own -> h[x].valid = 1 :: else fi
}

/* A room operation arrives; lost: its answer does not. */
inline arrive(x) {
  o = h[x].op; alive = is_alive(x); ok = 1;
  wrote(x);
  if
  :: o == TRACK ->
    if :: s_state == LIVE && s_inc == h[x].inc -> s_room = P :: else -> ok = 0 fi
  :: o == JOIN ->
#ifdef MUT_JOIN_INC
    member = 1; m_inc = h[x].inc
#else
    if :: member && m_inc > h[x].inc -> ok = 0 :: else -> member = 1; m_inc = h[x].inc fi
#endif
  :: o == LEAVE || o == LEAVEROOM || o == OLDLEAVE ->
    if :: member && m_inc > h[x].inc -> ok = 0 :: else fi;
    leave(h[x].inc)
  :: o == UNTRACK ->
    if
    :: s_state == NONE || s_inc != h[x].inc -> ok = 0
    :: else ->
      if
#ifdef MUT_SWEEP_FIRST
      :: s_fence == AHEAD -> if :: s_room -> s_room = X :: else fi
#else
      :: s_fence -> if :: s_room -> s_room = X :: else fi
#endif
      :: else -> silent(); s_room = NONE
      fi
    fi
  :: o == ADOPT ->
    if
    :: !member
    :: member && m_inc > h[x].inc -> ok = 0
#ifndef MUT_FROM
    :: member && m_inc < h[x].from -> o = OLDLEAVE
    :: member && m_inc >= h[x].from && m_inc <= h[x].inc ->
#else
    :: member && m_inc <= h[x].inc ->
#endif
      must(earlier_life, m_inc >= life || !alive);
      m_inc = h[x].inc
    fi
  :: o == ADOPTED ->
    if :: s_state == LIVE && s_inc == h[x].inc -> s_from = s_inc :: else -> ok = 0 fi
  fi;
  h[x].valid = 0;
  if
  :: !alive -> h[x].op = 0; tidy(x)
  :: alive && lost -> skip
  :: alive && !lost && !ok -> h[x].op = 0; forget(x)
  :: else ->
    was = h[x].op; h[x].op = 0;
    if
    :: was == ADOPTED -> answer(x)
    :: was == LEAVEROOM ->
      if :: !h[x].own -> h[x].member = 0 :: else fi;
#ifndef MUT_UNTRACK
      h[x].op = UNTRACK; h[x].valid = may_send(x)
#else
      has_quit(x)
#endif
    :: was == UNTRACK ->
#ifndef MUT_UNTRACK
      if :: !h[x].own -> h[x].room = s_room; has_quit(x) :: else fi
#else
      h[x].room = s_room; h[x].op = LEAVEROOM; h[x].valid = may_send(x)
#endif
    :: was != ADOPTED && was != LEAVEROOM && was != UNTRACK && h[x].own -> skip /* it compares again */
    :: was == TRACK && !h[x].own -> h[x].room = P
    :: was == JOIN && !h[x].own ->
      h[x].member = 1;
      if :: on == x && answered -> told = 1 :: else fi;
#ifdef MUT_TRACK
      if :: h[x].room != P -> h[x].op = TRACK; h[x].valid = may_send(x) :: else fi
#endif
    :: was == LEAVE && !h[x].own -> h[x].member = 0; has_quit(x)
    :: was == ADOPT && !h[x].own && o == OLDLEAVE -> h[x].op = OLDLEAVE; h[x].valid = may_send(x)
    :: was == ADOPT && !h[x].own && o == ADOPT -> h[x].member = member; adopted(x)
    :: was == OLDLEAVE && !h[x].own -> adopted(x)
    fi
  fi
}

#ifdef MUT_OWNED
#define is_owned s_state
#else
#define is_owned (s_state == LIVE)
#endif
#ifdef MUT_LOOK_AGAIN
#define none_left true
#else
#define none_left (s_room != X)
#endif

/* The sweep at the fence. Its node goes on with it although the connection has left it meanwhile: what it does then is
   for an inc that nobody has, or behind the leaves that it has made. */
inline sweep_on(x) {
  alive = is_alive(x);
  wrote(x);
  next = 0;
  if
  :: h[x].sweep == READ ->
    if
    :: s_state == LIVE && s_inc == h[x].inc && s_fence == PAST ->
      if :: s_room == NONE -> next = UNFENCE :: s_room == P -> next = SWEEP :: s_room == X -> next = SWEEPX fi
    :: else -> if :: alive && (s_inc != h[x].inc || s_state != LIVE || !s_fence) -> h[x].fenced = 0 :: else fi
    fi
  :: h[x].sweep == SWEEP || h[x].sweep == SWEEPX ->
    leave(h[x].inc - 1);
    next = (h[x].sweep == SWEEP -> UNFENCE : FORGET)
  :: h[x].sweep == FORGET ->
    next = UNFENCE;
    if
    :: s_state && s_inc == h[x].inc && s_room == X ->
      if
      :: s_fence == AHEAD -> next = 0
      :: else -> silent(); s_room = NONE; if :: alive && h[x].room == X && !h[x].op -> h[x].room = NONE :: else fi
      fi
#ifdef MUT_X
    :: s_state && s_inc == h[x].inc && s_room == P && s_fence != AHEAD -> s_room = NONE
#endif
    :: else
    fi
  :: h[x].sweep == UNFENCE ->
    if
    :: s_inc == h[x].inc && s_fence == PAST && is_owned && none_left -> s_fence = 0; if :: alive -> h[x].fenced = 0 :: else fi
    :: else
    fi
  fi;
  h[x].sweep = (may_send(x) -> next : 0);
  tidy(x)
}

inline detach(x) {
  if
  :: s_state == LIVE && s_inc == h[x].inc -> s_state = GRACE; due = AHEAD; raise_fence(x); forget(x)
  :: else -> if :: h[x].member -> h[x].ph = LOOK :: else -> forget(x) fi
  fi
}

inline close(x) {
#ifdef MUT_LEAVING
  fence_of(x);
#endif
  if
  :: (s_state == LIVE || s_state == LEAVING) && s_inc == h[x].inc ->
    if :: s_state == LIVE -> s_state = LEAVING; s_why = CLOSED; due = AHEAD; raise_fence(x) :: else fi;
#ifdef MUT_LEAVING
    h[x].ph = ENDFINISH
#else
    h[x].ph = (s_room -> ENDLEAVE : ENDFINISH)
#endif
  :: else -> if :: h[x].member -> h[x].ph = LASTLEAVE :: else -> forget(x) fi
  fi
}

inline helped(x) {
  h[x].inc = 0; h[x].after = 0;
  if :: may_send(x) -> h[x].ph = RESUME :: else -> hangup(x) fi
}

/* One handshake and what becomes of it. */
proctype hold(byte x) {
  do
  :: d_step { h[x].ph == RESUME -> printf("hold %d: resume\n", x); resume(x); check() }
  :: d_step { h[x].ph == OPEN -> printf("hold %d: open\n", x); open(x); check() }
  /* The helper: only what one reply shows as leaving, with the inc that it shows. */
  :: d_step { h[x].ph == HELP ->
      printf("hold %d: helps, session %d inc %d\n", x, s_state, s_inc);
      if
      :: s_state == GRACE -> h[x].ph = HELPCLAIM
      :: s_state == LEAVING -> h[x].inc = s_inc; h[x].ph = (s_room -> HELPLEAVE : HELPFINISH)
#ifdef MUT_HELPER
      :: s_state && s_state != GRACE && s_state != LEAVING -> h[x].inc = s_inc; h[x].ph = (s_room -> HELPLEAVE : HELPFINISH)
#endif
      :: else -> helped(x)
      fi }
  :: d_step { h[x].ph == HELPCLAIM ->
      printf("hold %d: helps with a claim\n", x);
      if
      :: due == PAST ->
        h[x].after = (s_fence != AHEAD);
        claim();
        if :: ok -> h[x].inc = s_inc; h[x].ph = (s_room -> HELPLEAVE : HELPFINISH) :: else -> helped(x) fi
      :: else -> helped(x)
      fi;
      check() }
  :: d_step { h[x].ph == HELPLEAVE -> printf("hold %d: help leaves\n", x); leave(h[x].inc); h[x].ph = HELPFINISH; check() }
  :: d_step { h[x].ph == HELPFINISH -> printf("hold %d: help finishes\n", x); finish(h[x].inc, h[x].after, 1); helped(x); check() }
  /* A room operation arrives, in time. */
  :: atomic { h[x].op && h[x].valid ->
#ifdef LOST
      if :: lost = 0 :: is_alive(x) -> lost = 1 fi;
#endif
      d_step { printf("hold %d: op %d arrives, lost %d\n", x, h[x].op, lost); arrive(x); lost = 0; check() } }
  :: d_step { h[x].op && !h[x].valid && is_alive(x) && may_send(x) -> printf("hold %d: op %d again\n", x, h[x].op); h[x].valid = 1 }
  :: d_step { h[x].sweep -> printf("hold %d: sweep %d\n", x, h[x].sweep); sweep_on(x); check() }
  :: d_step { h[x].ph == HELD && h[x].fenced && s_fence != AHEAD && !h[x].sweep && may_send(x) -> printf("hold %d: begins to sweep\n", x); h[x].sweep = READ }
  :: d_step { h[x].ph == ADOPTING && h[x].own && !h[x].op && may_send(x) && s_inc == h[x].inc ->
      printf("hold %d: compares\n", x); compare(x); check() }
  /* Requests: of the client, or what an old socket still had in it. */
  :: d_step { h[x].ph == HELD && !h[x].op && may_send(x) && h[x].room != P -> printf("hold %d: track\n", x); h[x].op = TRACK; h[x].valid = 1 }
#ifdef MUT_TRACK
  :: d_step { h[x].ph == HELD && !h[x].op && may_send(x) -> printf("hold %d: join\n", x); h[x].op = JOIN; h[x].valid = 1; wants(x) }
#else
  :: d_step { h[x].ph == HELD && !h[x].op && may_send(x) && h[x].room == P && (UPDATE || !h[x].member) -> printf("hold %d: join\n", x); h[x].op = JOIN; h[x].valid = 1; wants(x) }
#endif
#ifdef SETLEAVE /* also where it is no member */
  :: d_step { h[x].ph == HELD && !h[x].op && may_send(x) && h[x].room == P -> printf("hold %d: leave\n", x); h[x].op = LEAVE; h[x].valid = 1; gives_up(x) }
#endif
  :: d_step { h[x].ph == HELD && !h[x].op && may_send(x) && h[x].room == P ->
      printf("hold %d: leave the room\n", x);
#ifdef MUT_UNTRACK
      h[x].op = UNTRACK;
#else
      h[x].op = (h[x].member -> LEAVEROOM : UNTRACK);
#endif
      h[x].valid = 1; gives_up(x) }
  /* The socket is lost, and the node finds it; or somebody else has taken it. */
  :: d_step { is_alive(x) && on != x && current(x) -> printf("hold %d: socket lost\n", x); fence_of(x); h[x].ph = DETACH }
  :: d_step { is_alive(x) && current(x) && h[x].inc < s_inc -> printf("hold %d: taken\n", x); forget(x) }
  :: d_step { h[x].ph == DETACH -> printf("hold %d: detach\n", x); detach(x); check() }
#ifdef CLOSE
  :: d_step { h[x].ph == HELD && on == x && answered && current(x) ->
      printf("hold %d: client closes\n", x);
      on = 0; answered = 0; told = 0; fence_of(x);
#ifdef MUT_LEAVING
      h[x].ph = (h[x].room -> ENDLEAVE : CLOSING)
#else
      h[x].ph = CLOSING
#endif
    }
  :: d_step { h[x].ph == CLOSING -> printf("hold %d: close\n", x); close(x); check() }
  :: d_step { h[x].ph == ENDLEAVE ->
      printf("hold %d: leaves\n", x);
      leave(h[x].inc);
#ifdef MUT_LEAVING
      h[x].ph = CLOSING;
#else
      h[x].ph = ENDFINISH;
#endif
      check() }
  :: d_step { h[x].ph == ENDFINISH -> printf("hold %d: finishes\n", x); finish(h[x].inc, 0, 0); forget(x); check() }
#endif
  :: d_step { h[x].ph == LOOK -> printf("hold %d: looks, session %d\n", x, s_state); if :: s_state == NONE -> h[x].ph = LASTLEAVE :: else -> forget(x) fi }
  :: d_step { h[x].ph == LASTLEAVE -> printf("hold %d: leaves what it knows of\n", x); leave(h[x].inc); forget(x); check() }
  /* What was owed by a node that died may never come. */
  :: d_step { (h[x].ph == DETACH || h[x].ph == CLOSING || h[x].ph == LOOK || h[x].ph == LASTLEAVE) && down[h[x].node] -> printf("hold %d: lost\n", x); forget(x) }
  od
}

proctype reaper(byte x) {
  do
  :: d_step { r[x].ph == 0 && due == PAST && (x == 0 || r[0].ph) ->
      r[x].after = (s_fence != AHEAD);
      claim();
      printf("reaper %d: claim %d\n", x, ok);
      if :: ok -> r[x].inc = s_inc; r[x].ph = (s_room -> 1 : 2) :: else -> r[x].after = 0 fi;
      check() }
  :: d_step { r[x].ph == 1 -> printf("reaper %d: leave\n", x); leave(r[x].inc); r[x].ph = 2; check() }
  :: d_step { r[x].ph == 2 -> printf("reaper %d: finish\n", x); finish(r[x].inc, r[x].after, 1); r[x].ph = 0; r[x].inc = 0; r[x].after = 0; check() }
  :: d_step { r[x].ph -> printf("reaper %d: dies\n", x); r[x].ph = 0; r[x].inc = 0; r[x].after = 0 }
  od
}

/* The end of a stamp's lease. */
inline lapse(s) {
  stamp[s] = LAPSED;
#ifndef MUT_VALID
  i = 1;
  do
  :: i > ATTEMPTS -> break
  :: else ->
    if
    :: h[i].stamp == s && h[i].ph != IDLE ->
      h[i].sweep = 0; kill(i);
      if :: h[i].ph == RESUME || h[i].ph == OPEN -> hangup(i) :: else fi
    :: else
    fi;
    i++
  od;
#endif
  skip
}

inline orphan(s) {
  if :: s_state == LIVE && s_node == s -> s_state = GRACE; s_why = TIMEOUT; due = AHEAD :: else fi;
  listed[s] = 0
}

proctype server(byte n) {
  do
  :: d_step { !down[n] && (crashes < CRASHES || epoch[n] && stamp[n + 2] >= CONDEMNED) ->
      printf("node %d: dies\n", n);
      if :: crashes < CRASHES -> crashes++ :: else fi;
      down[n] = 1; i = 1;
      do
      :: i > ATTEMPTS -> break
      :: else ->
        if
        :: h[i].node == n && h[i].ph != IDLE ->
          if :: on == i -> on = 0; answered = 0 :: else fi;
          if :: is_alive(i) || h[i].ph == HELP || h[i].ph == HELPCLAIM || h[i].ph == HELPLEAVE || h[i].ph == HELPFINISH || h[i].ph == ENDLEAVE || h[i].ph == ENDFINISH -> forget(i) :: else fi
        :: else
        fi;
        i++
      od;
      skip }
  :: d_step { stamp[n] == LEASED && (down[n] || epoch[n] || lapses < LAPSES) -> printf("stamp %d: lapses\n", n); if :: down[n] || epoch[n] :: else -> lapses++ fi; lapse(n) }
  :: d_step { stamp[n + 2] == LEASED && (down[n] || lapses < LAPSES) -> printf("stamp %d: lapses\n", n + 2); if :: down[n] :: else -> lapses++ fi; lapse(n + 2) }
  :: d_step { !down[n] && stamp[n + 2 * epoch[n]] == LAPSED -> printf("node %d: beats again\n", n); stamp[n + 2 * epoch[n]] = LEASED }
  :: d_step { !down[n] && !epoch[n] && stamp[n] >= CONDEMNED ->
      printf("node %d: a new stamp\n", n);
      epoch[n] = 1; stamp[n + 2] = LEASED; i = 1;
      do
      :: i > ATTEMPTS -> break
      :: else ->
        if
        :: h[i].node == n && h[i].ph == ADOPTING -> /* its handshake fails */
          if :: on == i -> on = 0; answered = 0 :: else fi;
          fence_of(i); h[i].ph = DETACH; tidy(i)
        :: h[i].node == n && h[i].ph == HELD ->
          h[i].ph = RESUME; h[i].own = 1; h[i].newest = h[i].inc; h[i].stamp = n + 2; h[i].op = 0; h[i].valid = 0; h[i].sweep = 0
        :: else
        fi;
        i++
      od;
      skip }
  :: d_step { stamp[n] == LAPSED -> printf("stamp %d: condemned\n", n); stamp[n] = CONDEMNED; if :: on && h[on].stamp == n -> answered = 0 :: else fi }
  :: d_step { stamp[n + 2] == LAPSED -> printf("stamp %d: condemned\n", n + 2); stamp[n + 2] = CONDEMNED; if :: on && h[on].stamp == n + 2 -> answered = 0 :: else fi }
  :: d_step { stamp[n] == CONDEMNED && listed[n] -> printf("stamp %d: orphan\n", n); orphan(n); check() }
  :: d_step { stamp[n + 2] == CONDEMNED && listed[n + 2] -> printf("stamp %d: orphan\n", n + 2); orphan(n + 2); check() }
  :: d_step { stamp[n] == CONDEMNED && !listed[n] -> printf("stamp %d: bury\n", n); stamp[n] = BURIED; check() }
  :: d_step { stamp[n + 2] == CONDEMNED && !listed[n + 2] -> printf("stamp %d: bury\n", n + 2); stamp[n + 2] = BURIED; check() }
  od
}

inline connect(n) {
  printf("client: handshake %d at node %d\n", tried + 1, n);
  tried++; on = tried;
  h[on].ph = RESUME; h[on].node = n; h[on].stamp = n + 2 * epoch[n]; h[on].newest = clock
}

proctype world() {
  do
  :: d_step { !on && tried < ATTEMPTS && !down[0] && stamp[2 * epoch[0]] == LEASED -> connect(0) }
  :: d_step { !on && tried < ATTEMPTS && tried && !down[1] && stamp[1 + 2 * epoch[1]] == LEASED -> connect(1) }
  :: d_step { on -> printf("client: loses its socket\n"); on = 0; answered = 0 }
  :: d_step { !on && tried < ATTEMPTS -> printf("client: goes for ever\n"); tried = ATTEMPTS }
  :: d_step { due == AHEAD -> printf("time: due\n"); due = PAST }
  :: d_step { s_fence == AHEAD ->
      printf("time: fence\n");
      s_fence = PAST; i = 1;
      do
      :: i > ATTEMPTS -> break
      :: else ->
        if
        :: h[i].inc && h[i].ph >= ADOPTING && (h[i].inc < s_inc || h[i].inc == s_inc && s_state != LIVE) ->
          if :: h[i].inc < s_inc -> h[i].sweep = 0; if :: is_alive(i) -> h[i].ph = DONE :: else fi :: else fi;
          kill(i)
        :: else
        fi;
        i++
      od;
      skip }
  :: atomic { timeout ->
      must(left_over, !member && !s_state && !due && !listed[0] && !listed[1] && !listed[2] && !listed[3] &&
        stamp[0] != CONDEMNED && stamp[1] != CONDEMNED && stamp[2] != CONDEMNED && stamp[3] != CONDEMNED);
      break }
  od
}

init {
  atomic {
    stamp[0] = LEASED; stamp[1] = LEASED;
    run world(); run server(0); run server(1); run reaper(0);
#if REAPERS > 1
    run reaper(1);
#endif
    run hold(1);
#if ATTEMPTS > 1
    run hold(2);
#endif
#if ATTEMPTS > 2
    run hold(3)
#endif
  }
}
