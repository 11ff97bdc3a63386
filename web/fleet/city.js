// The drawn city: its roads as lines that one can drive along, and the way
// between the map's units and latitude and longitude. No document here: the
// vans' worker reads this file, too.

export const WIDTH = 880, HEIGHT = 650;
const METRES = 3;                                // a unit of the map
const NORTH = 53.56, WEST = 9.94;                // the top left corner
const LAT = METRES / 111_320;                    // degrees a unit
const LON = LAT / Math.cos((NORTH * Math.PI) / 180);

export const toGeo = (x, y) => ({ latitude: +(NORTH - y * LAT).toFixed(6), longitude: +(WEST + x * LON).toFixed(6) });
export const fromGeo = (latitude, longitude) => ({ x: (longitude - WEST) / LON, y: (NORTH - latitude) / LAT });
export const unitsPerSecond = (kmh) => kmh / 3.6 / METRES;

// Points of each road; it runs smoothly through them. Those that lead off the
// map begin or end 24 units outside it. A tunnel is given by its two portals.
const LINES = [
  { name: 'West gate', at: [[-14, -24], [45, 178], [54, 243], [47, 318], [38, 410], [31, 529], [24, 674]] },
  { name: 'North row', at: [[130, 137], [212, 116], [336, 99], [467, 99], [625, 83], [716, 73], [819, 77]] },
  { name: 'Old town', at: [[90, -24], [130, 137], [173, 260], [192, 330], [210, 428], [249, 556], [292, 674]] },
  { name: 'Park road', at: [[470, -24], [467, 99], [484, 238], [501, 300], [538, 419], [567, 527], [600, 674]] },
  { name: 'East road', at: [[828, -24], [819, 77], [822, 152], [820, 252], [799, 398], [779, 517], [777, 674]] },
  { name: 'Hill road', at: [[-24, 234], [54, 243], [173, 260], [313, 273], [484, 238], [576, 199], [599, 191], [640, 181], [700, 171], [774, 163], [822, 152], [904, 124]], tunnel: [6, 9] },
  { name: 'Quay', at: [[192, 330], [285, 343], [386, 334], [501, 300], [597, 268], [698, 252], [820, 252]] },
  { name: 'Old bridge', at: [[192, 330], [145, 400], [122, 474], [120, 556]] },
  { name: 'Ring south', at: [[-24, 560], [120, 556], [249, 556], [336, 553], [567, 527], [779, 517], [904, 523]] },
  { name: 'Harbour road', at: [[553, 474], [652, 456], [740, 424], [799, 398], [904, 375]] },
];

export const PLACES = [
  { key: 'placeRiver', x: 68, y: 428, turn: -8 },
  { key: 'placePark', x: 347, y: 191, turn: 0 },
  { key: 'placeTunnel', x: 690, y: 226, turn: 0 },
  { key: 'placeHarbour', x: 838, y: 346, turn: 0 },
];

/**
 * @typedef {object} Road
 * @property {string} name
 * @property {{x: number, y: number, s: number}[]} points  about every 3 units, `s` from the start
 * @property {number} length
 * @property {[number, number]} [tunnel]  from and to, in `s`
 * @property {{s: number, road: number, at: number, end: boolean}[]} junctions  in the order of `s`
 */

/** @type {Road[]} */
export const ROADS = LINES.map(line);
ROADS.forEach((road, i) => { road.junctions = junctions(i); });

/** Where something stands that has come `s` along the road, and which way it looks. */
export function pointAt(road, s) {
  const { points } = road;
  const at = Math.min(Math.max(s, 0), road.length);
  let lo = 0, hi = points.length - 1;
  while (hi - lo > 1) {
    const mid = (lo + hi) >> 1;
    if (points[mid].s <= at) lo = mid;
    else hi = mid;
  }
  const a = points[lo], b = points[hi];
  const part = b.s > a.s ? (at - a.s) / (b.s - a.s) : 0;
  return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
}

/** The name of the nearest road, and whether the place is in the tunnel. */
export function whereIs(x, y) {
  let best = { d: Infinity, name: '', tunnel: false };
  for (const road of ROADS) {
    for (let i = 0; i < road.points.length; i += 3) {
      const p = road.points[i];
      const d = (p.x - x) ** 2 + (p.y - y) ** 2;
      if (d < best.d) best = { d, name: road.name, tunnel: Boolean(road.tunnel) && p.s >= road.tunnel[0] - 12 && p.s <= road.tunnel[1] + 12 };
    }
  }
  return best;
}

/** Runs smoothly through the points (Catmull-Rom). */
function line({ name, at, tunnel }) {
  const points = [];
  const knots = [];
  let s = 0;
  const put = (x, y) => {
    const last = points.at(-1);
    if (last) s += Math.hypot(x - last.x, y - last.y);
    points.push({ x, y, s });
  };
  for (let i = 0; i < at.length - 1; i++) {
    const [p0, p1, p2, p3] = [at[i - 1] ?? at[i], at[i], at[i + 1], at[i + 2] ?? at[i + 1]];
    const steps = Math.max(2, Math.round(Math.hypot(p2[0] - p1[0], p2[1] - p1[1]) / 3));
    knots[i] = s;
    for (let k = i === 0 ? 0 : 1; k <= steps; k++) put(between(p0, p1, p2, p3, k / steps, 0), between(p0, p1, p2, p3, k / steps, 1));
    knots[i + 1] = s;
  }
  return { name, points, length: s, ...(tunnel ? { tunnel: tunnel.map((k) => knots[k]) } : {}) };
}

function between(p0, p1, p2, p3, t, axis) {
  const [a, b, c, d] = [p0[axis], p1[axis], p2[axis], p3[axis]];
  return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t);
}

/** Where another road can be taken: at crossings, and where a road ends on another. */
function junctions(index) {
  const own = ROADS[index];
  const found = [];
  ROADS.forEach((other, road) => {
    if (road === index) return;
    let near = { d: 36 }; // six units: roads that meet are drawn over each other
    for (const p of own.points) {
      for (const q of other.points) {
        const d = (p.x - q.x) ** 2 + (p.y - q.y) ** 2;
        if (d < near.d) near = { d, s: p.s, at: q.s };
      }
    }
    if (near.s !== undefined) found.push({ s: near.s, road, at: near.at, end: near.s < 8 || near.s > own.length - 8 });
  });
  return found.sort((a, b) => a.s - b.s);
}

/** A road as the `d` of an SVG path, or a part of it. */
export function pathOf(road, from = 0, to = road.length) {
  const inside = road.points.filter((p) => p.s >= from && p.s <= to);
  return `M${inside.map((p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join('L')}`;
}
