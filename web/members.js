// Who is in a room, from two sources that are tied by the room's revision:
//
//   1. subscribe to join, update and leave; what comes is kept aside
//   2. get(): the members, and the revision at which that list is true
//   3. what was kept aside is folded in, without what the list already holds
//   4. from here on every event is folded as it comes
//
// Nobody who joins or leaves between 1 and 2 is lost or counted twice. A hole
// in the revisions is counted, and the list is read again.

/**
 * @typedef {object} Member
 * @property {string} id        connection id, "app:hex"
 * @property {string} clientId
 * @property {*} data           what was sent, undefined when nothing was
 * @property {number} since     Unix milliseconds of the join
 * @property {number} revision  of the last change
 * @property {number} heard     when this page last heard of it (its own clock)
 */

/** The fold itself: no socket, no clock of its own. */
export class MemberSet {
  members = new Map(); // connection id → Member, in the order of joining
  revision = 0;        // of the last change folded in
  seen = 0;            // events folded in
  gaps = 0;
  repairedAt = 0;      // revision of the list that closed the last gap
  #base = 0;           // revision of the last list: what is not above it is in it

  /** Takes a list of `get()`. Members who stay keep their object. */
  reset(list, now) {
    const before = this.members;
    this.members = new Map();
    const sorted = [...list].sort((a, b) => a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : a.revision - b.revision);
    for (const m of sorted) {
      const known = before.get(m.connectionId);
      if (known?.since === Date.parse(m.timestamp)) {
        if (known.revision !== m.revision) Object.assign(known, { data: m.data, revision: m.revision, heard: now });
        this.members.set(known.id, known);
      } else {
        this.#put(m.connectionId, m, undefined, now);
      }
    }
    this.revision = this.#base = list.revision ?? 0;
    return [...before.values()].filter((m) => !this.members.has(m.id));
  }

  /**
   * Folds one event in. Answers "old" for what the last list already holds,
   * "gap" when something is missing before it, otherwise "ok".
   */
  apply(event, now) {
    if (event.revision <= this.#base) return 'old';
    // A room that emptied begins again at a higher revision: that is no hole.
    const gap = this.members.size > 0 && event.revision > this.revision + 1;
    if (gap) this.gaps++;
    this.seen++;
    this.revision = Math.max(this.revision, event.revision);
    if (event.event === 'leave') this.members.delete(event.connectionId);
    else this.#put(event.connectionId, event, this.members.get(event.connectionId), now);
    return gap ? 'gap' : 'ok';
  }

  #put(id, from, known, now) {
    if (from.event !== 'join' && known) {
      Object.assign(known, { data: from.data, revision: from.revision, heard: now });
      return;
    }
    this.members.delete(id); // a join by one we know is another membership: it stands last
    this.members.set(id, { id, clientId: from.clientId, since: Date.parse(from.timestamp), data: from.data, revision: from.revision, heard: now });
  }

  /** Only once the list was read again: the gap before it is closed. */
  repaired() { this.repairedAt = this.revision; }
}

const EVENTS = ['join', 'update', 'leave'];

/**
 * Keeps a {@link MemberSet} true for a room of the SDK.
 *
 * `on.event(event, verdict)` comes for each event in order, `on.list(removed)`
 * whenever the list was read, `on.error(error)` when it could not be.
 */
export class Watch {
  set = new MemberSet();
  ready = false; // false: no list yet, or a new one is on its way
  #room; #on; #aside = []; #reading = null; #again = false;

  constructor(room, on) {
    this.#room = room;
    this.#on = on;
  }

  /** Subscribes, then reads the list. Rejects when the room refuses. */
  async start() {
    await Promise.all(EVENTS.map((name) => this.#room.presence.subscribe(name, (event) => this.#hear(event))));
    await this.read();
  }

  /** Reads the list again: after a gap, and after every reconnect. */
  read() {
    if (this.#reading) {
      this.#again = true; // what is being read may be older than what we were asked for
      return this.#reading;
    }
    this.ready = false;
    this.#reading = this.#read().finally(() => {
      this.#reading = null;
      if (this.#again) {
        this.#again = false;
        return this.read();
      }
    });
    return this.#reading;
  }

  async #read() {
    const list = await this.#room.presence.get();
    const removed = this.set.reset(list, Date.now());
    this.ready = true;
    this.#on.list(removed);
    const aside = this.#aside;
    this.#aside = [];
    for (const event of aside) this.#fold(event);
  }

  #hear(event) {
    if (this.ready) this.#fold(event);
    else this.#aside.push(event);
  }

  #fold(event) {
    const before = this.set.members.get(event.connectionId);
    const verdict = this.set.apply(event, Date.now());
    if (verdict === 'old') return;
    this.#on.event(event, verdict, before);
    if (verdict === 'gap') this.read().then(() => this.set.repaired(), this.#on.error);
  }
}

/** What a member calls itself: its `name` when that is text, else the clientId. */
export function nameOf(data, clientId) {
  const name = data?.name;
  return typeof name === 'string' && name.trim() !== '' ? name : String(clientId ?? '');
}

/** What a member says it does; other data is shown as the JSON that it is. */
export function statusOf(data) {
  if (data === undefined || data === null) return '';
  if (typeof data === 'object' && !Array.isArray(data)) {
    if (typeof data.status === 'string') return data.status;
    if (typeof data.name === 'string') return '';
  }
  return JSON.stringify(data);
}

export const shortName = (name) => name.trim().split(/\s+/u)[0] || name;
export const shortConn = (id) => id.slice(id.lastIndexOf(':') + 1).slice(0, 6);
export const shortRevision = (revision) => String(revision).slice(-4);

/**
 * The members as people: one entry a client, its connections inside, in the
 * order in which the clients came. `own` is this tab's connection id; `since`
 * remembers when each client came, so that no one changes places because the
 * older of two tabs was closed.
 */
export function byClient(members, own, since = new Map()) {
  const people = new Map();
  for (const m of members) {
    let p = people.get(m.clientId);
    if (!p) people.set(m.clientId, p = { clientId: m.clientId, conns: [], own: false, newest: m, since: 0 });
    p.conns.push(m);
    if (m.revision >= p.newest.revision) p.newest = m;
    if (m.id === own) p.own = true;
  }
  for (const id of since.keys()) if (!people.has(id)) since.delete(id);
  for (const p of people.values()) {
    p.since = Math.min(since.get(p.clientId) ?? Infinity, p.conns[0].since);
    since.set(p.clientId, p.since);
    p.name = nameOf(p.newest.data, p.clientId);
    p.status = statusOf(p.newest.data);
  }
  return [...people.values()].sort((a, b) => a.since - b.since);
}
