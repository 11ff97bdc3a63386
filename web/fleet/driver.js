// A worker that drives the vans of this tab. Each van is a RelayBox of its own:
// one connection, one membership, an update every two seconds. In a worker its
// clock goes on when the tab is in the background.
//
//   page ─▶ {nodes, apiKey, room} once, {drive: n}, {tunnel: plate?}, {cut: plate?, ms}
//   page ◀─ {driving: n}, {sent: {plate, what}}, {failed: {n, why}}

import { RelayBox } from '../sdk.js';
import { toGeo } from './city.js';
import { drive, inTunnel, place, toTunnel, wayToTunnel } from './route.js';

const UPDATE_MS = 2000;  // 12 updates a second for 24 vans; the limit is 30 in 5 s a connection
const START_MS = 30;     // between two new connections: not all at once
const LETTERS = 'ABCEFGHKLMNPQRSTUVXYZ';

let config = null;
let wanted = 0;
let starting = false;
let failed = 0;
const vans = [];
const random = Math.random;

self.onmessage = ({ data }) => {
  if (data.nodes) config = data;
  if (data.drive !== undefined) {
    wanted = data.drive;
    fill();
  }
  if ('tunnel' in data) sendIntoTunnel(data.tunnel);
  if ('cut' in data) cutSignal(data.cut, data.ms);
};

/** Starts or ends vans until there are as many as wanted. */
async function fill() {
  while (vans.length > wanted) vans.pop().end();
  tell();
  if (starting) return;
  starting = true;
  while (vans.length < wanted) {
    const van = new Van(vans.length);
    vans.push(van);
    van.run().catch((error) => refuse(van, error));
    await new Promise((done) => setTimeout(done, START_MS));
  }
  starting = false;
  tell();
}

function refuse(van, error) {
  if (van.ended) return;
  van.end();
  vans.splice(vans.indexOf(van), 1);
  wanted = Math.min(wanted, vans.length);
  self.postMessage({ failed: { n: ++failed, why: error.message } });
  tell();
}

const tell = () => self.postMessage({ driving: vans.length });

/** One vehicle. What it calls are the lines that the page shows. */
class Van {
  ended = false;
  plate = `NB ${String(Math.floor(random() * 1000)).padStart(3, '0')} ${LETTERS[Math.floor(random() * LETTERS.length)]}`;
  way; cutUntil = 0;
  #box; #node; #room; #timer = null; #last = 0;

  constructor(i) {
    this.way = place(i, random);
    this.#node = config.nodes[i % config.nodes.length];
    this.#box = new RelayBox({ apiKey: config.apiKey, clientId: this.plate, url: this.#node.socket });
  }

  async run() {
    await this.#box.connect();
    if (this.ended) return;
    this.#room = this.#box.join(config.room);
    await this.#room.presence.join({ registration: this.plate });
    this.#last = performance.now();
    this.#move();
    this.#timer = setInterval(() => this.#move(), UPDATE_MS);
  }

  /** GPS has a new place. Without signal nothing is sent, and the line stays as it is. */
  async #move() {
    const now = performance.now();
    const { x, y } = drive(this.way, (now - this.#last) / 1000, random);
    this.#last = now;
    if (inTunnel(this.way) || now < this.cutUntil) return;
    const { latitude, longitude } = toGeo(x, y);
    try {
      await this.#room.presence.update({ registration: this.plate, latitude, longitude, speed: this.way.speed, node: this.#box.connection.node ?? this.#node.id });
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

function sendIntoTunnel(plate) {
  const outside = vans.filter((v) => !inTunnel(v.way) && !v.way.sent);
  const nearest = () => outside.map((van) => ({ van, far: wayToTunnel(van.way).far })).sort((a, b) => a.far - b.far)[0]?.van;
  const van = outside.find((v) => v.plate === plate) ?? nearest();
  if (van) toTunnel(van.way);
  self.postMessage({ sent: { plate: van?.plate ?? null, what: 'tunnel' } });
}

function cutSignal(plate, ms) {
  const talking = vans.filter((v) => !inTunnel(v.way) && performance.now() > v.cutUntil);
  const van = vans.find((v) => v.plate === plate) ?? talking[Math.floor(random() * talking.length)];
  if (van) van.cutUntil = performance.now() + ms;
  self.postMessage({ sent: { plate: van?.plate ?? null, what: 'cut' } });
}
