// A worker that drives the vans of this tab: in a worker their clock goes on
// when the tab is in the background.
//
//   page ─▶ {nodes, apiKey, room} once, {drive: n}, {tunnel: plate?}, {cut: plate?, ms}
//   page ◀─ {driving: n}, {sent: {plate, what}}, {failed: {n, why}}

import { inTunnel, toTunnel, wayToTunnel } from './route.js';
import { Van } from './van.js';

const START_MS = 30; // between two new connections: not all at once

let config = null;
let wanted = 0;
let starting = false;
let failed = 0;
const vans = [];

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
    const van = new Van(vans.length, config);
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

function sendIntoTunnel(plate) {
  const outside = vans.filter((v) => !inTunnel(v.way) && !v.way.sent);
  const nearest = () => outside.map((van) => ({ van, far: wayToTunnel(van.way).far })).sort((a, b) => a.far - b.far)[0]?.van;
  const van = outside.find((v) => v.plate === plate) ?? nearest();
  if (van) toTunnel(van.way);
  self.postMessage({ sent: { plate: van?.plate ?? null, what: 'tunnel' } });
}

function cutSignal(plate, ms) {
  const talking = vans.filter((v) => !inTunnel(v.way) && performance.now() > v.cutUntil);
  const van = vans.find((v) => v.plate === plate) ?? talking[Math.floor(Math.random() * talking.length)];
  if (van) van.cutUntil = performance.now() + ms;
  self.postMessage({ sent: { plate: van?.plate ?? null, what: 'cut' } });
}
