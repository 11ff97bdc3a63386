// The fleet: this tab is the control room. It watches by subscribe and get like
// anyone else; the vans are connections of their own, driven by a worker.

import { h, setText, show } from '../dom.js';
import { voice } from '../announce.js';
import { addresses, Link } from '../link.js';
import { Watch } from '../members.js';
import { strip } from '../strip.js';
import { codePanel } from '../code.js';
import { state as sign } from '../signs.js';
import { number, say, time } from '../strings.js';
import { cityMap } from './map.js';
import { vehicleTable } from './table.js';
import { Vehicles } from './vehicles.js';

const CHOICES = [0, 24, 200, 2000];
const USUAL = 24;
const MOST = 240;            // a browser opens about 250 sockets, and this tab needs one itself
const CUT_MS = 15_000;
const SPEAK_EVERY = 15_000;
const LISTEN_MS = 2500;      // who drives already is heard within this
const WINDOW = 5;            // seconds that the rates are taken over

const vanLines = (room) => [
  `const room = van.join('${room}');`,
  'await room.presence.join({ registration });',
  '',
  'gps.onmove = ({ latitude, longitude }) =>',
  '  room.presence.update({ registration,',
  '    latitude, longitude, speed, node });',
];

export function fleetView(main, page) {
  const meter = new Meter();
  const vehicles = new Vehicles();
  const link = new Link({ url: addresses(page.target).socket, apiKey: page.apiKey, clientId: 'control-room', node: page.target.id, onFrame: (t) => meter.frame(t) });
  let chosen = null;
  const choose = (id) => {
    chosen = id;
    map.select(id);
    table.select(id);
    table.reveal(id);
    draw();
  };
  const map = cityMap(vehicles, choose);
  const table = vehicleTable(vehicles, page.room, choose);
  const code = codePanel({ id: 'h-van', title: say('inTheVan'), label: say('vanCode'), lines: vanLines(page.room), aside: say('lines', { n: 6 }) });
  const counts = pill(page.room);
  const says = h('p', { class: 'says' });
  const own = voice(), others = voice();
  const drivers = new Drivers(page, (text) => tell(text));
  const controls = bar({
    tunnel: () => drivers.send('tunnel', vehicles.all.get(chosen)?.plate),
    cut: () => drivers.send('cut', vehicles.all.get(chosen)?.plate),
    drive: (n) => drivers.drive(n),
  }, says);
  drivers.changed = (n) => controls.draw(n);

  main.append(
    h('div', { class: 'fleet' },
      h('section', { class: 'map-card', 'aria-labelledby': 'h-map' }, h('h2', { class: 'vh', id: 'h-map', text: say('fleet') }), counts.el, map.el, controls.el),
      h('div', { class: 'side' }, table.el, code.el)),
    own.el, others.el);
  placeStrip(main, strip(link, { who: say('controlRoom') }));

  let note = '', noteUntil = 0;
  function tell(text, ms = 8000) {
    note = text;
    noteUntil = Date.now() + ms;
    own.speak(text);
    draw();
  }

  const lost = () => link.state.phase !== 'live' && link.state.phase !== 'connecting';
  function draw() {
    const now = Date.now();
    // Without a line nothing is heard: that is our silence, not the vehicles'.
    if (lost()) return setText(says, say('msgFleetLost', { time: time(link.state.since) }));
    const n = vehicles.count(now);
    counts.draw(n);
    map.label(n.here);
    table.draw(now, meter.events(now), meter.kilobytes(now));
    setText(says, noteUntil > now ? note : n.here === 0 && drivers.known ? say('msgFleetEmpty') : say('msgFleetLive'));
    if (n.silent !== spoken.n && now - spoken.at > SPEAK_EVERY) {
      spoken = { n: n.silent, at: now };
      others.speak(say('spokenSilent', { n: n.silent }));
    }
  }
  let spoken = { n: 0, at: 0 };
  setInterval(draw, 250);
  link.onChange(draw);
  run({ link, page, vehicles, meter, code, drivers, tell });
}

async function run({ link, page, vehicles, meter, code, drivers, tell }) {
  try {
    await link.connect();
    const room = link.box.join(page.room);
    const watch = new Watch(room, {
      event(event) {
        vehicles.event(event, Date.now());
        meter.event();
        if (event.event === 'update') lit(code);
      },
      list() { vehicles.reset(watch.set.members.values(), Date.now()); },
      error: (error) => tell(say('msgFailed', { name: error.name, message: error.message })),
    });
    await watch.start();
    link.measure(room);
    link.onChange((state, before) => {
      if (state.phase === 'live' && before.phase !== 'live') watch.read().catch(() => { /* the line went again, and says so itself */ });
    });
    await drivers.begin(watch);
  } catch (error) {
    tell(say('msgFailed', { name: error.name, message: error.message }), 60_000);
  }
}

/** The van's call is lit as long as updates come: once a second is enough for that. */
function lit(code) {
  if (performance.now() - lit.at < 1000) return;
  lit.at = performance.now();
  code.ran(5);
  code.ran(6);
}
lit.at = 0;

/** The worker that drives this tab's vans, and how many. */
class Drivers {
  known = false; // whether it is clear who drives
  changed = () => {};
  #worker; #tell; #driving = 0;

  constructor(page, tell) {
    this.#tell = tell;
    this.#worker = new Worker(new URL('./driver.js', import.meta.url), { type: 'module' });
    const nodes = page.nodes.length > 0 ? page.nodes : [page.target];
    this.#worker.postMessage({ nodes: nodes.map((n) => ({ id: n.id, socket: addresses(n).socket })), apiKey: page.apiKey, room: page.room });
    this.#worker.onmessage = ({ data }) => this.#heard(data);
  }

  /** Drives the usual number, unless somebody else's vans are heard. */
  async begin(watch) {
    const before = watch.set.seen;
    if (watch.set.members.size > 0) await new Promise((done) => setTimeout(done, LISTEN_MS));
    this.known = true;
    if (watch.set.members.size > 0 && watch.set.seen > before) {
      this.#tell(say('msgElsewhere', { n: watch.set.members.size }));
      return;
    }
    this.drive(USUAL);
    this.changed(USUAL);
  }

  drive(n) {
    this.#worker.postMessage({ drive: Math.min(n, MOST) });
    if (n > MOST) this.#tell(say('msgCapped', { n: MOST }), 15_000);
  }

  send(what, plate) {
    if (this.#driving === 0) return this.#tell(say('msgNoVan'));
    this.#worker.postMessage(what === 'cut' ? { cut: plate, ms: CUT_MS } : { tunnel: plate });
  }

  #heard({ driving, sent, failed }) {
    if (driving !== undefined) this.#driving = driving;
    if (failed) this.#tell(say('msgVansRefused', failed));
    if (!sent) return;
    if (!sent.plate) this.#tell(say('msgNoVan'));
    else if (sent.what === 'tunnel') this.#tell(say('msgTunnel', { plate: sent.plate }));
    else this.#tell(say('msgSignalCut', { plate: sent.plate, s: CUT_MS / 1000 }));
  }
}

/** Events and bytes a second of this tab's own socket, over the last seconds. */
class Meter {
  #buckets = new Map(); // second → {events, bytes}

  #now() {
    const at = Math.floor(Date.now() / 1000);
    if (!this.#buckets.has(at)) {
      this.#buckets.set(at, { events: 0, bytes: 0 });
      for (const old of this.#buckets.keys()) if (old < at - WINDOW) this.#buckets.delete(old);
    }
    return this.#buckets.get(at);
  }

  frame(text) { this.#now().bytes += text.length; }
  event() { this.#now().events++; }
  events(now) { return this.#sum(now, 'events'); }
  kilobytes(now) { return this.#sum(now, 'bytes') / 1000; }

  #sum(now, what) {
    const second = Math.floor(now / 1000);
    let sum = 0;
    for (const [at, bucket] of this.#buckets) if (at < second && at >= second - WINDOW) sum += bucket[what];
    return sum / WINDOW;
  }
}

function pill(room) {
  const b = () => h('b');
  const here = b(), word = h('span');
  const part = (kind) => {
    const text = h('span');
    return { el: h('span', { class: `part ${kind}` }, sign(kind, 10), text), text };
  };
  const live = part('live'), silent = part('grace'), left = part('left');
  return {
    el: h('p', { class: 'pill' }, h('bdi', { class: 'mono part', text: room }), h('span', { class: 'part' }, here, ' ', word), live.el, silent.el, left.el),
    draw(n) {
      setText(here, number(n.here));
      setText(word, say('vehiclesWord', { n: n.here }));
      setText(live.text, say('fleetLive', { n: n.live }));
      setText(silent.text, say('fleetSilent', { n: n.silent }));
      setText(left.text, say('fleetLeft', { n: n.left }));
      show(left.el, n.left > 0);
    },
  };
}

function bar(act, says) {
  const select = h('select', { id: 'driven', 'aria-label': say('drivenSpoken'), on: { change: () => act.drive(Number(select.value)) } },
    ...CHOICES.map((n) => h('option', { value: n, text: n === 0 ? say('drivenNone') : number(n) })));
  const el = h('div', { class: 'map-bar' },
    h('button', { class: 'button primary', type: 'button', text: say('toTunnel'), on: { click: act.tunnel } }),
    h('button', { class: 'button', type: 'button', text: say('cutSignal', { s: CUT_MS / 1000 }), on: { click: act.cut } }),
    says, h('span', { class: 'driven' }, h('span', { 'aria-hidden': 'true', text: say('driven') }), select));
  return { el, draw(n) { select.value = String(n); } };
}

/** The strip stands in the bar where there is space, else above the map. */
function placeStrip(main, { el }) {
  const wide = matchMedia('(min-width: 68.75em)');
  const put = () => {
    if (wide.matches) document.querySelector('.slot-right')?.append(el);
    else main.querySelector('h1').after(el);
  };
  wide.addEventListener('change', put);
  put();
}
