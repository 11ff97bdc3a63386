// The set, drawn as a set: people between braces, and who leaves steps out
// through the right one. Everything stands on numbered places and moves by
// transform alone: nothing on the page shifts when somebody comes or goes.

import { copy, h, phone, pinned, setText, setVar, show } from '../dom.js';
import { avatar, graceRing } from '../avatar.js';
import { brace } from '../signs.js';
import { number, parts, say, seconds } from '../strings.js';
import { shortName, shortRevision } from '../members.js';

const MOST = 8, MOST_PHONE = 5;
const EMPTY = 0.6; // places between the braces of an empty set, as in room.css

/** Makes the stage. `toMembers()` is where "+n" leads. */
export function stage(room, toMembers) {
  const faces = h('ul', { class: 'faces', 'aria-label': say('set') });
  const left = brace('start'), right = brace('end');
  const more = h('button', { class: 'more', type: 'button', hidden: true, on: { click: toMembers } });
  const set = h('div', { class: 'set' }, left, faces, more, right);
  const counts = counters();
  const el = h('div', { class: 'stage' },
    h('h2', { class: 'vh', text: say('set') }),
    h('p', { class: 'label mono' }, ...parts('is', { room: h('bdi', { text: room }) })),
    set, counts.el);

  const slots = new Map(); // clientId → slot
  let last = null;
  const draw = (s = last) => {
    if (!s) return;
    last = s;
    const room = capacity(set);
    const shown = s.people.length > room ? s.people.slice(0, room - 1) : s.people;
    const hidden = s.people.length - shown.length;
    const taken = shown.length + (hidden > 0 ? 1 : 0);
    const kept = new Set();
    shown.forEach((p, i) => {
      kept.add(p.clientId);
      let slot = slots.get(p.clientId);
      if (slot?.gone) { // back as somebody new: it enters at the end
        slot.el.remove();
        slot = null;
      }
      (slot ?? add(p, i)).draw(p, i, s);
    });
    // Who left stands outside for a while, where there is space.
    [...s.ghosts.values()].slice(-Math.max(0, room + 1 - taken)).forEach((g, i) => {
      const slot = slots.get(g.clientId);
      if (!slot) return;
      kept.add(g.clientId);
      slot.gone = true;
      slot.draw(g, Math.max(taken, EMPTY) + 0.55 + i, s);
    });
    for (const [id, slot] of slots) {
      if (kept.has(id)) continue;
      slot.el.remove();
      slots.delete(id);
    }
    setVar(set, '--n', taken);
    show(more, hidden > 0);
    if (hidden > 0) {
      setVar(more, '--x', shown.length);
      setText(more, say('more', { n: hidden }));
      more.setAttribute('aria-label', say('moreSpoken', { n: hidden }));
    }
    counts.draw(s);
  };
  const add = (p, i) => {
    const s = slot(p);
    slots.set(p.clientId, s);
    faces.insertBefore(s.el, faces.children[i] ?? null);
    return s;
  };
  new ResizeObserver(() => draw()).observe(set);
  return { el, draw, at: counts.at };
}

/** How many places fit between the braces at this width. */
function capacity(set) {
  const style = getComputedStyle(set);
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const step = parseFloat(style.getPropertyValue('--step')) * rem;
  const braces = parseFloat(style.getPropertyValue('--inset')) * 2 * rem;
  const fits = Math.floor((set.clientWidth - braces) / step);
  return Math.max(2, Math.min(phone() ? MOST_PHONE : MOST, fits));
}

function slot(person) {
  const face = avatar(person.clientId);
  const name = h('bdi', { class: 'name', dir: 'auto' });
  const note = h('span', { class: 'note' });
  const holder = h('span', { class: 'holder' }, face.el);
  const el = h('li', { class: 'slot new', data: { client: person.clientId } }, h('span', { class: 'pop' }, holder, name, note));
  let ring = null;
  return {
    el,
    gone: false,
    draw(p, x, s) {
      const kind = p.gone ? 'left' : p.own ? s.ownState : 'live';
      setVar(el, '--x', x);
      face.update(p.name, kind);
      setText(name, shortName(p.name));
      name.title = p.name;
      el.dataset.state = kind;
      el.setAttribute('aria-hidden', String(Boolean(p.gone)));
      setText(note, kind === 'left' ? say('left') : kind === 'grace' ? say('secondsLeft', { s: seconds(s.graceLeft) }) : p.own ? say('you') : '');
      if (kind === 'grace' && !ring) holder.append(ring = graceRing(s.graceMs, s.graceMs - s.graceLeft));
      if (kind !== 'grace' && ring) {
        ring.remove();
        ring = null;
      }
    },
  };
}

function counters() {
  const conns = pinned({ class: 'bold' }), clients = pinned({ class: 'bold' });
  const connsWord = h('span'), clientsWord = h('span');
  const at = h('button', { class: 'quiet mono at', type: 'button', on: { click: () => revision && copy(String(revision)) } });
  let revision = 0;
  const el = h('div', { class: 'counts' },
    h('p', {}, conns.el, connsWord), h('p', {}, clients.el, clientsWord), at);
  return {
    el,
    at,
    draw(s) {
      revision = s.revision;
      conns.set(number(s.connections));
      setText(connsWord, say('connectionsWord', { n: s.connections }));
      clients.set(number(s.people.length));
      setText(clientsWord, say('clientsWord', { n: s.people.length }));
      const short = shortRevision(revision);
      setText(at, s.stale ? say('asOf', { time: s.asOf }) : revision ? say('trueAt', { short }) : '');
      at.title = revision ? String(revision) : '';
      at.setAttribute('aria-label', s.stale ? at.textContent : say('trueAtSpoken', { revision: String(revision) }));
      show(at, Boolean(at.textContent));
    },
  };
}
