// One vehicle: a RelayBox of its own, one connection, one membership, an update
// every two seconds. No document here: it runs in the tab's worker and in Node.

import { RelayBox } from '../sdk.js';
import { toGeo } from './city.js';
import { drive, inTunnel, place } from './route.js';

const UPDATE_MS = 2000; // 12 updates a second for 24 vans; the limit is 30 in 5 s a connection
const LETTERS = 'ABCEFGHKLMNPQRSTUVXYZ';

/** A plate that no other van is likely to have. */
const newPlate = (random) => `NB ${String(Math.floor(random() * 1000)).padStart(3, '0')} ${LETTERS[Math.floor(random() * LETTERS.length)]}`;

export class Van {
  ended = false;
  plate; way;
  cutUntil = 0; // page clock in ms: until then it has no signal
  #box; #config; #node; #room; #timer = null; #last = 0;

  /** `config` holds `nodes` ({id, socket}), `apiKey`, `room` and, outside of browsers, `WebSocket`. */
  constructor(i, config, random = Math.random) {
    this.plate = newPlate(random);
    this.way = place(i, random);
    this.#config = config;
    this.#node = config.nodes[i % config.nodes.length];
    this.#box = new RelayBox({ apiKey: config.apiKey, clientId: this.plate, url: this.#node.socket, WebSocket: config.WebSocket });
  }

  /** Connects, joins and drives. What it calls are the lines that the page shows. */
  async run() {
    await this.#box.connect();
    if (this.ended) return;
    this.#room = this.#box.join(this.#config.room);
    await this.#room.presence.join({ registration: this.plate });
    if (this.ended) return;
    this.#last = performance.now();
    this.#move();
    this.#timer = setInterval(() => this.#move(), UPDATE_MS);
  }

  /** GPS has a new place. Without signal nothing is sent, and the line stays as it is. */
  async #move() {
    const now = performance.now();
    const { x, y } = drive(this.way, (now - this.#last) / 1000, Math.random);
    this.#last = now;
    if (inTunnel(this.way) || now < this.cutUntil) return;
    const { latitude, longitude } = toGeo(x, y);
    const { speed } = this.way;
    try {
      await this.#room.presence.update({ registration: this.plate, latitude, longitude, speed, node: this.#box.connection.node ?? this.#node.id });
    } catch {
      // No line or no Redis: this place is lost, the next one is two seconds away.
    }
  }

  end() {
    this.ended = true;
    clearInterval(this.#timer);
    this.#box.disconnect();
  }
}
