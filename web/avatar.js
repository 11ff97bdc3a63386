// A face for a clientId, from the clientId alone: the same in every tab, on
// every machine. Two discs that overlap, with the initials on top.

import { h, setText, svg } from './dom.js';
import { state } from './signs.js';

const segments = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const first = (word) => segments.segment(word)[Symbol.iterator]().next().value?.segment ?? '';

/** FNV-1a over code points, then a finish that spreads short ids: 32 bits. */
export function hash(text) {
  let n = 2166136261;
  for (const c of text) n = Math.imul(n ^ c.codePointAt(0), 16777619);
  n = Math.imul(n ^ (n >>> 15), 2246822507);
  return (n ^ (n >>> 13)) >>> 0;
}

/** First letter of the first and of the last word; of the clientId without a name. */
export function initials(name, clientId) {
  const words = (name.trim() || clientId.trim()).split(/\s+/u).filter(Boolean);
  if (words.length === 0) return '';
  const ends = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return ends.map((w) => first(w).toLocaleUpperCase()).join('');
}

/** What the face looks like: two colours, where the second disc is, how round. */
export function looks(clientId) {
  const n = hash(clientId);
  const hue = 15 + 30 * (n % 12);
  const hue2 = (hue + [60, 120, 180, 300][(n >>> 4) & 3]) % 360;
  const bearing = ((45 * ((n >>> 7) & 7) + 22) * Math.PI) / 180;
  const away = ((n >>> 11) & 1 ? 0.52 : 0.42) * 100;
  return {
    one: `oklch(.53 .11 ${hue})`,
    two: `oklch(.43 .10 ${hue2})`,
    x: +(50 + away * Math.cos(bearing)).toFixed(2),
    y: +(50 + away * Math.sin(bearing)).toFixed(2),
    r: (n >>> 12) & 1 ? 36 : 50,
  };
}

/**
 * Makes an avatar: face, ring and state badge, hidden from screen readers
 * because the name stands beside it. `update` changes what can change.
 */
export function avatar(clientId) {
  const look = looks(clientId);
  const letters = svg('text', { x: 50, y: 51, fill: '#fff', 'font-size': 37, 'font-weight': 600, 'text-anchor': 'middle', 'dominant-baseline': 'central' });
  const face = svg('svg', { class: 'face', viewBox: '0 0 100 100', focusable: 'false' },
    svg('rect', { width: 100, height: 100, fill: look.one }),
    svg('circle', { cx: look.x, cy: look.y, r: look.r, fill: look.two }),
    letters);
  const badge = h('span', { class: 'badge' });
  const el = h('span', { class: 'avatar', 'aria-hidden': 'true' }, face, badge);
  let shown = '';
  return {
    el,
    update(name, kind) {
      setText(letters, initials(name, clientId));
      if (kind === shown) return;
      shown = kind;
      el.dataset.state = kind;
      badge.replaceChildren(state(kind));
    },
  };
}

/** The ring of a grace: drains by one CSS animation that began `elapsed` ms ago. */
export function graceRing(ms, elapsed) {
  const ring = svg('svg', { class: 'ring', viewBox: '0 0 72 72', 'aria-hidden': 'true', focusable: 'false' },
    svg('circle', { class: 'track', cx: 36, cy: 36, r: 34.5 }),
    svg('circle', { class: 'drain', cx: 36, cy: 36, r: 34.5, pathLength: 100 }));
  ring.style.setProperty('--grace-time', `${ms}ms`);
  ring.style.setProperty('--elapsed', `${-elapsed}ms`);
  return ring;
}
