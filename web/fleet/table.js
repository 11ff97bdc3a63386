// The vehicles as a table: the equal of the map for those who do not see it.
// Only the rows in view are in the document, so 2,000 vehicles cost what 20 do.

import { h, pinned, setText } from '../dom.js';
import { state as sign } from '../signs.js';
import { decimal, number, say } from '../strings.js';
import { whereIs } from './city.js';
import { stateOf } from './vehicles.js';

const BEYOND = 8;    // rows kept above and below what is seen
const ORDER = { silent: 0, left: 1, live: 2 };
const SIGN = { live: 'live', silent: 'grace', left: 'left' };
const WORD = { live: 'stateLive', silent: 'stateSilent', left: 'stateLeft' };

export function vehicleTable(vehicles, room, choose) {
  const rates = pinned({ class: 'aside' });
  const above = h('tr', { class: 'space', 'aria-hidden': 'true' }, h('td', { colspan: 5 }));
  const below = h('tr', { class: 'space', 'aria-hidden': 'true' }, h('td', { colspan: 5 }));
  const body = h('tbody', {}, above, below);
  const th = (key, spoken = false) => h('th', { scope: 'col' }, h('span', { class: spoken ? 'vh' : null, text: say(key) }));
  const table = h('table', { role: 'grid', 'aria-label': say('tableOf', { room }), 'aria-readonly': 'true' },
    h('thead', {}, h('tr', { 'aria-rowindex': 1 }, th('colState', true), th('colPlate'), th('colWhere'), th('colSpeed'), th('colHeard'))), body);
  const scroll = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': say('vehiclesHead') }, table);
  const el = h('section', { class: 'panel vehicles-panel', 'aria-labelledby': 'h-vehicles' },
    h('header', {}, h('h2', { id: 'h-vehicles', text: say('vehiclesHead') }), rates.el), scroll);

  const rows = new Map(); // connection id → row
  let order = [], chosen = null, held = false;
  // Nothing changes places under the hand: while the pointer is over the list, its order stands.
  scroll.addEventListener('pointerenter', () => { held = true; });
  scroll.addEventListener('pointerleave', () => { held = false; });
  scroll.addEventListener('scroll', () => draw(Date.now()), { passive: true });
  scroll.addEventListener('keydown', (e) => {
    const at = order.indexOf(chosen);
    const to = { ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), Home: 0, End: order.length - 1 }[e.key];
    if (e.key === 'Escape') choose(null);
    if (to === undefined || order.length === 0) return;
    e.preventDefault();
    const id = order[Math.min(to, order.length - 1)];
    choose(id);
    reveal(id);
    rows.get(id)?.el.focus({ preventScroll: true });
  });

  const rem = () => parseFloat(getComputedStyle(scroll).getPropertyValue('--row'));
  const px = () => rem() * parseFloat(getComputedStyle(document.documentElement).fontSize);

  function reveal(id) {
    const i = order.indexOf(id);
    if (i < 0) return;
    const head = table.tHead.offsetHeight, row = px();
    const top = i * row, seen = scroll.clientHeight - head;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    if (top + row > scroll.scrollTop + seen) scroll.scrollTop = top + row - seen;
    draw(Date.now());
  }

  function sort(now) {
    const all = [...vehicles.all.values()].filter((v) => v.plate);
    if (held && all.length === order.length) {
      const known = new Set(order);
      if (all.every((v) => known.has(v.id))) return;
    }
    const rank = new Map(all.map((v) => [v.id, ORDER[stateOf(v, now)]]));
    order = all.sort((a, b) => rank.get(a.id) - rank.get(b.id) || (a.plate < b.plate ? -1 : 1)).map((v) => v.id);
  }

  function draw(now) {
    const row = px();
    const first = Math.max(0, Math.floor(scroll.scrollTop / row) - BEYOND);
    const last = Math.min(order.length, Math.ceil((scroll.scrollTop + scroll.clientHeight) / row) + BEYOND);
    const kept = new Set(order.slice(first, last));
    if (chosen && order.includes(chosen)) kept.add(chosen); // the focused row is never taken away by scrolling
    for (const [id, r] of rows) {
      if (kept.has(id)) continue;
      const focused = r.el === document.activeElement;
      r.el.remove();
      rows.delete(id);
      if (focused) focusNext(id);
    }
    let before = above;
    order.forEach((id, i) => {
      if (!kept.has(id)) return;
      let r = rows.get(id);
      if (!r) rows.set(id, r = tableRow(() => choose(id)));
      if (before.nextSibling !== r.el) before.after(r.el);
      before = r.el;
      r.draw(vehicles.all.get(id), now, i + 2, id === chosen, id === (chosen ?? order[0]));
    });
    const outside = chosen && kept.has(chosen) && (order.indexOf(chosen) < first || order.indexOf(chosen) >= last) ? 1 : 0;
    const gapAbove = first - (outside && order.indexOf(chosen) < first ? 1 : 0);
    const gapBelow = order.length - last - (outside && order.indexOf(chosen) >= last ? 1 : 0);
    above.firstChild.style.height = `${gapAbove * rem()}rem`;
    below.firstChild.style.height = `${gapBelow * rem()}rem`;
    above.hidden = gapAbove === 0;
    below.hidden = gapBelow === 0;
    table.setAttribute('aria-rowcount', String(order.length + 1));
  }

  /** Who is gone hands the focus to who stands there now. */
  function focusNext(id) {
    const next = order.find((other) => rows.has(other) && other !== id);
    if (next) rows.get(next).el.focus({ preventScroll: true });
    else scroll.focus();
  }

  return {
    el,
    select(id) { chosen = id; },
    reveal,
    draw(now, perSecond, kilobytes) {
      rates.set(say('rates', { n: number(perSecond), kb: decimal(kilobytes) }));
      sort(now);
      draw(now);
    },
  };
}

function tableRow(onClick) {
  const mark = h('span', { class: 'mark' });
  const word = h('span', { class: 'vh' });
  const [plate, where, speed, heard] = [h('td', { class: 'mono' }), h('td', { class: 'where' }), h('td', { class: 'n' }), h('td', { class: 'n' })];
  const el = h('tr', { on: { click: onClick } }, h('td', { class: 'state' }, mark, word), plate, where, speed, heard);
  let shown = '', place = '';
  return {
    el,
    draw(v, now, index, chosen, tabbable) {
      if (!v) return;
      const state = stateOf(v, now);
      if (state !== shown) {
        mark.replaceChildren(sign(SIGN[state], 10));
        setText(word, say(WORD[state]));
        el.dataset.state = shown = state;
      }
      const at = `${v.x} ${v.y}`;
      if (at !== place) {
        place = at;
        setText(where, Number.isFinite(v.x) ? nameOf(v) : '');
      }
      setText(plate, v.plate);
      setText(speed, state === 'live' && Number.isFinite(v.x) ? number(v.speed) : '–');
      const s = (now - v.heardAt) / 1000;
      setText(heard, state === 'left' ? say('heardLeft') : say('heard', { s: s < 5 ? decimal(s) : String(Math.floor(s)) }));
      el.setAttribute('aria-rowindex', String(index));
      el.setAttribute('aria-selected', String(chosen));
      el.setAttribute('tabindex', tabbable ? '0' : '-1');
    },
  };
}

const nameOf = (v) => {
  const { name, tunnel } = whereIs(v.x, v.y);
  return tunnel ? say('placeTunnel') : name;
};
