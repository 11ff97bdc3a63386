// The six signs of the product and the few icons. They are drawn with
// currentColor, so that they stay where the system chooses the colours.

import { h, svg } from './dom.js';

const box = (size, view, props, ...shapes) =>
  svg('svg', { width: size, height: size, viewBox: view, 'aria-hidden': 'true', focusable: 'false', ...props }, ...shapes);

/** ● live, ◐ in grace or without signal, ○ left. */
export function state(kind, size = 12) {
  const ring = { cx: 6, cy: 6, r: 4.6, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.8 };
  const shapes = {
    live: [svg('circle', { cx: 6, cy: 6, r: 5.5, fill: 'currentColor' })],
    grace: [svg('circle', ring), svg('path', { d: 'M6 1.4a4.6 4.6 0 0 0 0 9.2z', fill: 'currentColor' })],
    left: [svg('circle', ring)],
  };
  return box(size, '0 0 12 12', { class: `sign ${kind}` }, ...shapes[kind]);
}

const strokes = (size, ...d) => box(size, '0 0 16 16', { class: 'icon' },
  ...d.map((path) => svg('path', { d: path, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.5, 'stroke-linecap': 'round', 'stroke-linejoin': 'round' })));

export const icons = {
  cable: () => strokes(16, 'M1.5 14.5c2.2-.3 1.6-2.6 3.2-3.4', 'M4.2 9.2l2.6 2.6c1.3.3 2.6-.2 3.3-1L5.8 6.5c-.9.8-1.7 1.6-1.6 2.7z', 'M8.7 6.2l1.1-1.1M10.4 7.9l1.1-1.1', 'M11.6 4.4c1.6-.8.8-2.9 2.9-2.9'),
  copy: () => strokes(14, 'M5.5 5.5h8v8h-8z', 'M10.5 5.5v-3h-8v8h3'),
  split: () => strokes(16, 'M1.75 2.75h12.5v10.5H1.75z', 'M8 2.75v10.5'),
  out: () => strokes(14, 'M4 12L12 4', 'M5.5 4H12v6.5'),
  theme: () => box(16, '0 0 16 16', { class: 'icon' },
    svg('circle', { cx: 8, cy: 8, r: 6, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.6 }),
    svg('path', { d: 'M8 2a6 6 0 0 1 0 12z', fill: 'currentColor' })),
  close: () => strokes(16, 'M4 4l8 8M12 4l-8 8'),
};

const BRACE = 'M12 3C7.6 3 8 7 8 10.5S7 16 3 16c4 0 5 2 5 5.5S7.6 29 12 29';

/** The mark: a set with one who is here, one in grace, one who left. */
export function logo() {
  const brace = (props) => svg('path', { d: BRACE, fill: 'none', stroke: 'currentColor', 'stroke-width': 3.2, 'stroke-linecap': 'round', ...props });
  return svg('svg', { width: 76, height: 32, viewBox: '0 0 76 32', class: 'logo', 'aria-hidden': 'true', focusable: 'false' },
    brace({}), brace({ transform: 'translate(76 0) scale(-1 1)' }),
    svg('circle', { class: 'live', cx: 22, cy: 16, r: 5.8, fill: 'currentColor' }),
    svg('g', { class: 'grace' },
      svg('circle', { cx: 38, cy: 16, r: 4.9, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.8 }),
      svg('path', { d: 'M38 10.2a5.8 5.8 0 0 0 0 11.6z', fill: 'currentColor' })),
    svg('circle', { class: 'left', cx: 54, cy: 16, r: 4.9, fill: 'none', stroke: 'currentColor', 'stroke-width': 1.8 }));
}

/** One big brace of the stage; the right one is the mirrored left. */
export function brace(side) {
  return svg('svg', { class: `brace ${side}`, viewBox: '0 0 20 112', 'aria-hidden': 'true', focusable: 'false' },
    svg('path', { d: 'M17.5 2C8.5 2 10 11 10 24v14c0 11-1.5 18-8 18 6.5 0 8 7 8 18v14c0 13-1.5 22 7.5 22', fill: 'none', stroke: 'currentColor', 'stroke-width': 2.5, 'stroke-linecap': 'round' }));
}

/** An icon button's face: the icon, then its words. */
export const labelled = (icon, text) => [icon, h('span', { text })];
