// How a van drives: along its road, sometimes round a corner, back where the
// road leaves the map; or by the shortest way to the tunnel. Pure: the caller
// brings the time and the dice.

import { pointAt, ROADS, unitsPerSecond } from './city.js';

const TURNS = 0.35;  // of the crossings
const HURRY = 72;    // km/h of a van that was sent somewhere
const HILL = ROADS.findIndex((r) => r.tunnel);

/**
 * @typedef {object} Way
 * @property {number} road, s, dir, speed  index, units from its start, 1 or -1, km/h
 * @property {{s: number, road: number, at: number}[]} plan  corners still to take
 * @property {boolean} sent  on its way into the tunnel
 */

/** Puts van number `i` somewhere on the roads; the first two on the hill are near the portals. */
export function place(i, random) {
  const road = i % ROADS.length;
  const way = { road, s: ROADS[road].length * random(), dir: random() < 0.5 ? 1 : -1, speed: 30 + Math.round(random() * 32), plan: [], sent: false };
  const [from, to] = ROADS[HILL].tunnel;
  if (i === HILL) Object.assign(way, { s: from - 70, dir: 1 });
  if (i === HILL + ROADS.length) Object.assign(way, { s: to + 20, dir: 1 });
  return way;
}

/** Drives for `seconds`; changes `way` and returns where it is. */
export function drive(way, seconds, random) {
  let left = unitsPerSecond(way.speed) * seconds;
  for (let legs = 0; left > 0 && legs < 8; legs++) left = leg(way, left, random);
  way.speed = way.sent ? HURRY : Math.min(HURRY, Math.max(18, way.speed + Math.round((random() - 0.5) * 6)));
  if (inTunnel(way)) way.sent = false;
  return pointAt(ROADS[way.road], way.s);
}

/** One piece: to the next corner or end, or as far as it goes. */
function leg(way, left, random) {
  const road = ROADS[way.road];
  const corner = way.plan[0];
  if (corner) way.dir = Math.sign(corner.s - way.s) || way.dir;
  const ahead = corner ?? road.junctions.filter((j) => (j.s - way.s) * way.dir > 0.5).sort((a, b) => (a.s - b.s) * way.dir)[0];
  const stop = ahead ? ahead.s : way.dir > 0 ? road.length : 0;
  const far = Math.abs(stop - way.s);
  if (left < far) {
    way.s += left * way.dir;
    return 0;
  }
  way.s = stop;
  if (corner) {
    way.plan.shift();
    turn(way, corner, random);
  } else if (!ahead) {
    way.dir = -way.dir; // off the map: it comes back
  } else if (ahead.end || (!way.sent && random() < TURNS)) {
    turn(way, ahead, random);
  }
  return left - far;
}

function turn(way, { road, at }, random) {
  way.road = road;
  way.s = at;
  const { length, tunnel } = ROADS[road];
  if (way.sent && tunnel && way.plan.length === 0) way.dir = at < tunnel[0] ? 1 : -1;
  else way.dir = at < 8 ? 1 : at > length - 8 ? -1 : random() < 0.5 ? 1 : -1;
}

/** Whether a van at this place has no signal. */
export function inTunnel({ road, s }) {
  const { tunnel } = ROADS[road];
  return Boolean(tunnel) && s > tunnel[0] && s < tunnel[1];
}

/** Sends a van into the tunnel by the shortest way. */
export function toTunnel(way) {
  const { plan } = wayToTunnel(way);
  Object.assign(way, { plan, sent: true, speed: HURRY });
  if (plan.length === 0) way.dir = way.s < ROADS[HILL].tunnel[0] ? 1 : -1;
}

/** How far it is to the nearer portal by road, and which corners to take: the shortest first. */
export function wayToTunnel({ road, s }) {
  const [from, to] = ROADS[HILL].tunnel;
  const open = [{ road, s, far: 0, plan: [] }];
  const best = new Map();
  for (;;) {
    open.sort((a, b) => a.far - b.far);
    const here = open.shift();
    if (here.end) return { far: here.far, plan: here.plan };
    if (here.road === HILL) open.push({ end: true, far: here.far + Math.min(Math.abs(here.s - from), Math.abs(here.s - to)), plan: here.plan });
    for (const j of ROADS[here.road].junctions) {
      const far = here.far + Math.abs(j.s - here.s);
      const key = `${here.road} ${j.road}`;
      if (far >= (best.get(key) ?? Infinity)) continue;
      best.set(key, far);
      open.push({ road: j.road, s: j.at, far, plan: [...here.plan, j] });
    }
  }
}
