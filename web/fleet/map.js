// The city as one SVG and the vehicles on a canvas over it: two thousand must
// move. Both fill the card in the same way, so a unit of the map is a unit of both.

import { h, reducedMotion, setText, show, svg } from '../dom.js';
import { say, seconds } from '../strings.js';
import { shortConn, shortRevision } from '../members.js';
import { HEIGHT, pathOf, PLACES, pointAt, ROADS, unitsPerSecond, WIDTH } from './city.js';
import { placeAt, stateOf } from './vehicles.js';

const TRAIL = 18, REACH = 22, UNCERTAIN = 34;
const MANY = 400;                                      // from here on trails are short: they would cover the roads
const ARROW = [[0, -8], [6.5, 8], [0, 4.5], [-6.5, 8]]; // 13 × 16, looking up

export function cityMap(vehicles, choose) {
  const canvas = h('canvas', { class: 'vehicles' });
  const card = detail();
  const el = h('div', { class: 'map', role: 'img' }, city(), canvas);
  const holder = h('div', { class: 'map-holder' }, el, card.el);
  const paint = painter(canvas, el);

  el.addEventListener('click', (e) => {
    const at = paint.toMap(e.offsetX, e.offsetY);
    let best = null, near = (REACH / paint.scale) ** 2;
    for (const v of vehicles.all.values()) {
      const p = placeAt(v, Date.now());
      const d = p ? (p.x - at.x) ** 2 + (p.y - at.y) ** 2 : Infinity;
      if (d < near) [best, near] = [v, d];
    }
    choose(best?.id ?? null);
  });

  const frame = () => {
    const now = Date.now();
    const chosen = vehicles.all.get(paint.chosen) ?? null;
    paint.draw(vehicles.all, now);
    card.draw(chosen, now, paint);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  return {
    el: holder,
    select(id) { paint.chosen = id; },
    label(n) { el.setAttribute('aria-label', say('mapSpoken', { n })); },
  };
}

/** The ground: blocks, river, parks, the hill, the roads and the tunnel. */
function city() {
  const block = (id, turn, w, hgt) => svg('pattern', { id, width: w, height: hgt, patternUnits: 'userSpaceOnUse', patternTransform: `rotate(${turn})` },
    svg('rect', { class: 'land', width: w, height: hgt }), svg('rect', { class: 'block', width: w - 4, height: hgt - 4 }));
  const area = (pattern, d) => svg('path', { d, fill: `url(#${pattern})` });
  const road = (r, kind) => {
    const [from, to] = r.tunnel ?? [];
    const parts = r.tunnel ? [pathOf(r, 0, from), pathOf(r, to, r.length)] : [pathOf(r)];
    return parts.map((d) => svg('path', { class: kind, d }));
  };
  const hill = ROADS.find((r) => r.tunnel);
  const tube = pathOf(hill, ...hill.tunnel);
  const portals = hill.tunnel.map((s) => {
    const { x, y } = pointAt(hill, s);
    return svg('circle', { class: 'portal', cx: x, cy: y, r: 5.5 });
  });
  const contour = (k) => svg('ellipse', { class: 'contour', cx: 704, cy: 178, rx: 119 * k, ry: 79 * k });
  return svg('svg', { class: 'city', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'xMidYMid slice', 'aria-hidden': 'true', focusable: 'false' },
    svg('defs', {}, block('west', -15, 40, 32), block('east', 33, 38, 30), block('south', 10, 36, 40)),
    svg('rect', { class: 'land', width: WIDTH, height: HEIGHT }),
    area('west', 'M0 0H520L470 260L560 440L0 470Z'), area('east', 'M470 0H880V330L560 430L470 250Z'), area('south', 'M0 430L300 400L560 440L880 330V650H0Z'),
    svg('path', { class: 'water', d: 'M-10 424C90 388 210 380 300 400S450 446 540 424 700 322 790 304 860 306 890 312V374C840 356 790 372 716 420S590 502 480 502 250 432 120 452 20 466 -10 470Z' }),
    svg('ellipse', { class: 'park', cx: 347, cy: 187, rx: 77, ry: 51 }), svg('ellipse', { class: 'park', cx: 703, cy: 590, rx: 76, ry: 43 }), svg('ellipse', { class: 'park', cx: 5, cy: 366, rx: 32, ry: 36 }),
    svg('ellipse', { class: 'park', cx: 704, cy: 178, rx: 119, ry: 79 }), contour(0.72), contour(0.48), contour(0.24),
    ...ROADS.flatMap((r) => road(r, 'casing')), ...ROADS.flatMap((r) => road(r, 'road')),
    svg('path', { class: 'tube wall', d: tube }), svg('path', { class: 'tube inside', d: tube }), ...portals,
    ...PLACES.map((p) => svg('text', { class: 'place', x: p.x, y: p.y, 'text-anchor': 'middle', transform: p.turn ? `rotate(${p.turn} ${p.x} ${p.y})` : null, text: say(p.key) })));
}

/** Draws vehicles. Trails of one age go in one stroke, so their number costs little. */
function painter(canvas, box) {
  const ctx = canvas.getContext('2d');
  let scale = 1, left = 0, top = 0, dpr = 1, colours = {};
  const measure = () => {
    const { clientWidth: w, clientHeight: hgt } = box;
    dpr = devicePixelRatio || 1;
    canvas.width = w * dpr;
    canvas.height = hgt * dpr;
    scale = Math.max(w / WIDTH, hgt / HEIGHT); // "slice": the larger fills
    left = (w - WIDTH * scale) / 2;
    top = (hgt - HEIGHT * scale) / 2;
    box.style.setProperty('--scale', scale.toFixed(3)); // the labels keep their size
  };
  const readColours = () => {
    const style = getComputedStyle(document.documentElement);
    for (const name of ['present', 'grace', 'left', 'surface', 'focus', 'grace-soft', 'ink-2']) colours[name] = style.getPropertyValue(`--${name}`).trim();
    colours.sans = style.getPropertyValue('--sans');
  };
  new ResizeObserver(measure).observe(box);
  new MutationObserver(readColours).observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
  measure();
  readColours();

  const self = {
    chosen: null,
    get scale() { return scale; },
    toMap: (x, y) => ({ x: (x - left) / scale, y: (y - top) / scale }),
    toPage: ({ x, y }) => ({ x: x * scale + left, y: y * scale + top }),
    draw(all, now) {
      ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
      ctx.clearRect(0, 0, canvas.width / dpr, canvas.height / dpr);
      const jump = reducedMotion();
      const drawn = [];
      for (const v of all.values()) {
        const p = jump ? v.points.at(-1) : placeAt(v, now);
        if (p) drawn.push({ v, p: self.toPage(p), state: stateOf(v, now) });
      }
      trails(drawn, all.size > MANY ? 3 : TRAIL);
      for (const d of drawn) if (d.state !== 'live') quietOne(d, now);
      arrows(drawn);
      const chosen = drawn.find((d) => d.v.id === self.chosen);
      if (chosen) ring(chosen.p);
    },
  };

  function trails(drawn, length) {
    ctx.lineCap = 'butt'; // round ends would show where two pieces overlap
    ctx.strokeStyle = colours.present;
    for (let age = length - 1; age >= 0; age--) {
      ctx.globalAlpha = 0.75 * (1 - age / length);
      ctx.lineWidth = 3.5 - 1.5 * (age / length);
      ctx.beginPath();
      for (const { v, p, state } of drawn) {
        if (state !== 'live') continue;
        const i = v.points.length - 2 - age;
        if (i < 0) continue;
        // The youngest piece ends where the vehicle is now, not where it will be.
        const a = self.toPage(v.points[i]), b = age === 0 ? p : self.toPage(v.points[i + 1]);
        ctx.moveTo(a.x, a.y);
        ctx.lineTo(b.x, b.y);
      }
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
  }

  /** All arrows are one path: two thousand cost two strokes of the brush. */
  function arrows(drawn) {
    ctx.beginPath();
    for (const { v, p, state } of drawn) {
      if (state !== 'live') continue;
      const n = v.points.length;
      const to = v.points[n - 1], from = v.points[n - 2];
      if (to.x !== from.x || to.y !== from.y) v.heading = Math.atan2(to.x - from.x, from.y - to.y);
      const sin = Math.sin(v.heading ?? 0), cos = Math.cos(v.heading ?? 0);
      ARROW.forEach(([x, y], i) => ctx[i === 0 ? 'moveTo' : 'lineTo'](p.x + x * cos - y * sin, p.y + x * sin + y * cos));
      ctx.closePath();
    }
    ctx.lineWidth = 1.8;
    ctx.lineJoin = 'round';
    ctx.strokeStyle = colours.surface;
    ctx.stroke();
    ctx.fillStyle = colours.present;
    ctx.fill();
  }

  /** Without signal or gone: the sign, and how far it may have come since. */
  function quietOne({ v, p, state }, now) {
    const silence = (now - v.heardAt) / 1000;
    const colour = state === 'left' ? colours.left : colours.grace;
    if (state === 'silent') {
      const r = Math.min(UNCERTAIN, 12 + silence * unitsPerSecond(v.speed) * scale);
      ctx.beginPath();
      ctx.arc(p.x, p.y, r, 0, 2 * Math.PI);
      ctx.globalAlpha = 0.22;
      ctx.fillStyle = colour;
      ctx.fill();
      ctx.globalAlpha = 0.7;
      ctx.setLineDash([3, 3]);
      ctx.lineWidth = 1.2;
      ctx.strokeStyle = colour;
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.globalAlpha = 1;
      pill(say('silentFor', { s: String(Math.floor(silence)) }), p.x, p.y - r - 16, colour);
    } else {
      pill(say('leftRoom'), p.x, p.y + 26, colours['ink-2']);
    }
    ctx.beginPath();
    ctx.arc(p.x, p.y, 9, 0, 2 * Math.PI);
    ctx.fillStyle = colours.surface;
    ctx.fill();
    ctx.beginPath();
    ctx.arc(p.x, p.y, 6.5, 0, 2 * Math.PI);
    ctx.lineWidth = 2;
    ctx.strokeStyle = colour;
    ctx.stroke();
    if (state === 'left') return;
    ctx.beginPath();
    ctx.arc(p.x, p.y, 6.5, Math.PI / 2, 1.5 * Math.PI);
    ctx.fillStyle = colour;
    ctx.fill();
  }

  function pill(text, x, y, colour) {
    ctx.font = `500 13px ${colours.sans}`;
    const w = ctx.measureText(text).width + 24;
    ctx.beginPath();
    ctx.roundRect(x - w / 2, y - 12, w, 24, 12);
    ctx.fillStyle = colours.surface;
    ctx.fill();
    ctx.fillStyle = colour;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.fillText(text, x, y + 0.5);
  }

  function ring(p) {
    ctx.beginPath();
    ctx.arc(p.x, p.y, 17, 0, 2 * Math.PI);
    ctx.lineWidth = 2.5;
    ctx.strokeStyle = colours.focus;
    ctx.stroke();
  }

  return self;
}

/** The card of the selected vehicle; it follows it and stays inside the map. */
function detail() {
  const plate = h('p', { class: 'mono bold' });
  const line = h('p', { class: 'line2' });
  const conn = h('span', { class: 'chip mono' });
  const revision = h('span', { class: 'chip mono' });
  const el = h('div', { class: 'float', hidden: true }, plate, line, h('p', { class: 'chips-row' }, conn, ' ', revision));
  let node = null;
  return {
    el,
    draw(v, now, paint) {
      const at = v && placeAt(v, now);
      show(el, Boolean(at));
      if (!at) return;
      const state = stateOf(v, now);
      setText(plate, v.plate);
      const s = (now - v.heardAt) / 1000;
      setText(line, state === 'left' ? say('leftRoom') : say(state === 'silent' ? 'vehicleSilent' : 'vehicleLine', { speed: v.speed, s: state === 'silent' ? String(Math.floor(s)) : seconds(s * 1000) }));
      if (node !== v.id + v.node) {
        node = v.id + v.node;
        conn.replaceChildren(v.node ? h('b', { text: v.node }) : '', v.node ? ' ' : '', shortConn(v.id));
      }
      setText(revision, `…${shortRevision(v.revision)}`);
      const p = paint.toPage(at);
      const { offsetWidth: w, offsetHeight: hgt } = el;
      const { clientWidth, clientHeight } = el.parentElement;
      const x = Math.min(Math.max(p.x + 24, 12), clientWidth - w - 12);
      const y = Math.min(Math.max(p.y - hgt - 24, 64), clientHeight - hgt - 12);
      el.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
    },
  };
}
