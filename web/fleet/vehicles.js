// What the control room knows of the vehicles, from events alone: where each
// was, when it was heard, and how often it usually speaks. Silence is judged by
// a vehicle's own interval, and it is not a leave.

import { fromGeo } from './city.js';

const TRAIL = 18;         // points kept
const USUAL = 2000;       // ms, until a vehicle's own interval is known
const SHORTEST = 500;     // ms; one that speaks more often is not called silent sooner
const SILENT = 3;         // × its interval
const LINGER = 4000;      // ms that one who left is still shown

export class Vehicles {
  all = new Map(); // connection id → vehicle

  /** Takes the members of a list: those who are new, and those who are gone. */
  reset(members, now) {
    const known = new Set();
    for (const m of members) {
      known.add(m.id);
      this.#hear(m, now);
      this.all.get(m.id).timed = false; // a list does not say when its member last spoke
    }
    for (const v of this.all.values()) if (!known.has(v.id)) v.leftAt ??= now;
  }

  /** Takes an event of the room. */
  event(event, now) {
    if (event.event === 'leave') {
      const v = this.all.get(event.connectionId);
      if (v) v.leftAt ??= now;
      return;
    }
    this.#hear({ id: event.connectionId, clientId: event.clientId, data: event.data, revision: event.revision }, now);
  }

  #hear({ id, clientId, data, revision }, now) {
    let v = this.all.get(id);
    if (!v || v.leftAt) this.all.set(id, v = { id, plate: '', node: '', speed: 0, x: NaN, y: NaN, points: [], gaps: [], interval: USUAL, heardAt: now, timed: false, revision: 0, leftAt: null });
    if (v.revision === revision) return;
    v.revision = revision;
    v.plate = typeof data?.registration === 'string' ? data.registration : String(clientId);
    if (typeof data?.node === 'string') v.node = data.node;
    if (!Number.isFinite(data?.latitude) || !Number.isFinite(data?.longitude)) return;
    v.speed = Number.isFinite(data.speed) ? data.speed : 0;
    const { x, y } = fromGeo(data.latitude, data.longitude);
    this.#move(v, x, y, now);
  }

  #move(v, x, y, now) {
    const gap = now - v.heardAt;
    if (v.timed && gap < v.interval * SILENT) {
      v.gaps = [...v.gaps, gap].slice(-5);
      v.interval = Math.max(SHORTEST, v.gaps.toSorted((a, b) => a - b)[v.gaps.length >> 1]);
    }
    const unseen = v.points.length === 0 || gap >= v.interval * SILENT;
    if (unseen) {
      v.points = [{ x, y }, { x, y }]; // no line through what nobody saw: it goes on from here
    } else {
      v.points[v.points.length - 1] = placeAt(v, now); // it had not quite arrived
      v.points.push({ x, y });
    }
    v.points = v.points.slice(-TRAIL);
    Object.assign(v, { x, y, heardAt: now, timed: true });
  }

  /** Forgets who left long enough ago, and counts the rest. */
  count(now) {
    const n = { here: 0, live: 0, silent: 0, left: 0 };
    for (const v of this.all.values()) {
      const s = stateOf(v, now);
      if (s === 'left' && now - v.leftAt > LINGER) this.all.delete(v.id);
      else if (s === 'left') n.left++;
      else {
        n.here++;
        n[s]++;
      }
    }
    return n;
  }
}

/** 'live', 'silent' or 'left'. */
export function stateOf(v, now) {
  if (v.leftAt) return 'left';
  return now - v.heardAt > v.interval * SILENT ? 'silent' : 'live';
}

/** Where it is drawn: on the line from the last point to the newest, never beyond it. */
export function placeAt(v, now) {
  const n = v.points.length;
  if (n === 0) return null;
  const to = v.points[n - 1], from = v.points[n - 2] ?? to;
  const part = Math.min(1, (now - v.heardAt) / v.interval);
  return { x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part };
}
