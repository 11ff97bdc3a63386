// This tab's line to its node, told as one state for the whole page. The SDK
// does the connecting and coming back; this file only puts words to it.
//
//   connecting ─▶ live ─▶ cut (the cable was pulled) ─▶ live
//        │          └───▶ lost (by itself; offline when the device is) ─▶ live
//        └─▶ refused (no way to try again)      lost for two minutes: gone

import { RelayBox } from './sdk.js';
import { cable } from './cable.js';

export const GIVE_UP = 120_000; // then the list is no longer shown as if it were news
const PING_EVERY = 5_000; // one count request, for the round trip
const PINGS = 5;          // the median of so many is shown

/**
 * @typedef {object} LinkState
 * @property {'connecting'|'live'|'cut'|'lost'|'refused'} phase
 * @property {string} node      of the first frame; until then the one asked for
 * @property {number} graceMs   of the first frame
 * @property {number} since     when this phase began (page clock, ms)
 * @property {number} [retryAt] when the next attempt begins
 * @property {Error} [error]    why it was refused
 */

export class Link {
  /** The SDK's client: the page makes its calls on it. */
  box;
  /** @type {LinkState} */
  state;
  rtt = null; // median round trip in ms, null: not known
  #cable; #listeners = new Set(); #room = null; #times = []; #timer = null;

  /** `onFrame(text)` sees each frame as it came. */
  constructor({ url, apiKey, clientId, node, onFrame }) {
    this.#cable = cable(onFrame);
    this.box = new RelayBox({
      apiKey, clientId, url,
      WebSocket: this.#cable.Socket,
      reconnect: { baseMs: 300, capMs: 2000 }, // one tab, not a herd: back soon
    });
    this.state = { phase: 'connecting', node, graceMs: 0, since: Date.now() };
    const c = this.box.connection;
    c.on('disconnect', () => this.#down());
    c.on('reconnecting', (_, delayMs) => this.#set({ retryAt: Date.now() + (delayMs ?? 0) }));
    c.on('reconnected', () => this.#live());
    addEventListener('offline', () => this.#tell());
    addEventListener('online', () => this.#tell());
  }

  /** This tab's connection id, undefined before the first frame. */
  get id() { return this.box.connection.id; }
  get cableOut() { return this.#cable.out; }
  get offline() { return !navigator.onLine; }
  /** Whether the line has been away so long that nothing shown is news. */
  get gone() {
    const { phase, since } = this.state;
    return (phase === 'lost' || phase === 'connecting') && Date.now() - since > GIVE_UP;
  }
  /** Milliseconds of grace left; 0 when it is over or there is none. */
  get graceLeft() {
    const { phase, since, graceMs } = this.state;
    return phase === 'cut' || phase === 'lost' ? Math.max(0, since + graceMs - Date.now()) : 0;
  }

  /** Calls `fn(state, before)` at each change; returns its undo. */
  onChange(fn) {
    this.#listeners.add(fn);
    return () => this.#listeners.delete(fn);
  }

  /** Connects; a node that is not up yet is asked again. Resolves when live. */
  async connect() {
    for (let wait = 300; ; wait = Math.min(wait * 2, 5000)) {
      try {
        await this.box.connect();
        return this.#live();
      } catch (error) {
        if (error.retry === false) {
          this.#set({ phase: 'refused', error });
          throw error;
        }
        this.#tell(); // still connecting: a line that never was cannot be lost
        await new Promise((done) => setTimeout(done, wait));
      }
    }
  }

  pull() {
    if (this.#cable.out) return;
    this.#cable.pull();
    this.#set({ phase: 'cut', since: Date.now(), retryAt: undefined });
  }

  plug() {
    if (!this.#cable.out) return;
    this.#cable.plug();
    this.#set({ phase: 'lost', retryAt: Date.now() }); // `since` stays: the grace runs from the pull
    this.now();
  }

  /** Tries at once instead of at the next turn. */
  now() {
    this.box.connect().catch(() => { /* the next turn is told by the SDK's events */ });
  }

  /** Begins to measure round trips, by counting this room. */
  measure(room) {
    this.#room = room;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#ping(), PING_EVERY);
    this.#ping();
  }

  async #ping() {
    if (this.state.phase !== 'live' || document.hidden) return;
    const began = performance.now();
    try {
      await this.#room.presence.getCount();
    } catch {
      return; // the line or Redis: both are told elsewhere
    }
    this.#times = [...this.#times, performance.now() - began].slice(-PINGS);
    const sorted = this.#times.toSorted((a, b) => a - b);
    this.rtt = sorted[Math.floor(sorted.length / 2)];
    this.#tell();
  }

  #live() {
    const { node, graceMs } = this.box.connection;
    this.#times = [];
    this.rtt = null;
    this.#set({ phase: 'live', node: node ?? this.state.node, graceMs: graceMs ?? 0, since: Date.now(), retryAt: undefined });
    if (this.#room) this.#ping();
  }

  #down() {
    if (this.state.phase === 'live') this.#set({ phase: this.#cable.out ? 'cut' : 'lost', since: Date.now() });
  }

  #set(change) {
    const before = this.state;
    this.state = { ...before, ...change };
    this.#tell(before);
  }

  #tell(before = this.state) {
    for (const fn of this.#listeners) fn(this.state, before);
  }
}

/** Where a node's pages and sockets are, from its entry in demo.json. */
export function addresses(node, here = location) {
  if (!node) return { page: `${here.origin}/`, socket: `${here.origin.replace(/^http/, 'ws')}/core` };
  const url = node.url.startsWith(':') ? `${here.protocol}//${here.hostname}${node.url}` : node.url;
  const origin = new URL(url).origin;
  return { page: `${origin}/`, socket: `${origin.replace(/^http/, 'ws')}/core` };
}
