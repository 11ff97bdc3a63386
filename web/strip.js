// The wire strip: this tab ── round trip ── its node ── Redis, and the way to
// the same room on the other node. In the fleet it is the short form.

import { h, pinned, setText, show } from './dom.js';
import { icons, state } from './signs.js';
import { number, say, seconds } from './strings.js';

/** A line with a figure in its middle; CSS draws the line by the strip's phase. */
function hop() {
  const figure = pinned({ class: 'figure' }, 'middle');
  return { el: h('span', { class: 'hop' }, figure.el), figure };
}

/**
 * Makes the strip. `who` is the left end's text, `redis` adds the last hop,
 * `after` is what stands at the right end.
 */
export function strip(link, { who, redis = false, pid = null, after = null }) {
  const dot = h('span', { class: 'dot' });
  const first = hop();
  const node = h('span', { class: 'end node' });
  const pidText = pid ? h('span', { class: 'pid mono', text: say('pid', { pid: String(pid) }) }) : null;
  const el = h('section', { class: 'strip', 'aria-label': say('wire') },
    h('span', { class: 'end tab' }, dot, h('span', { text: who })),
    first.el, node, pidText,
    redis && h('span', { class: 'end redis' }, h('span', { class: 'hop plain' }), h('span', { text: say('redis') })),
    h('span', { class: 'gap' }), after);

  let timer = null, drawn = '';
  const draw = () => {
    const { phase, retryAt, node: id } = link.state;
    const waits = phase === 'lost' && retryAt > Date.now();
    el.dataset.phase = phase;
    first.figure.set(figureOf(link, waits));
    first.figure.el.title = phase === 'live' && link.rtt !== null ? say('roundTrip', { n: round(link.rtt) }) : '';
    setText(node, id ? say('node', { node: id }) : say('nodeUnknown'));
    const kind = phase === 'live' ? 'live' : phase === 'refused' ? 'left' : 'grace';
    if (kind !== drawn) dot.replaceChildren(state(drawn = kind, 10));
    if (pidText) show(pidText, phase === 'live' || phase === 'cut');
    if (waits && timer === null) timer = setInterval(draw, 200);
    if (!waits && timer !== null) {
      clearInterval(timer);
      timer = null;
    }
  };
  link.onChange(draw);
  draw();
  return { el };
}

const round = (ms) => (ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms));

function figureOf(link, waits) {
  const { phase, retryAt } = link.state;
  if (phase === 'live') return link.rtt === null ? '·' : say('ms', { n: link.rtt < 1 ? '<1' : number(round(link.rtt)) });
  if (phase === 'cut') return say('cableOut');
  if (phase === 'lost') return waits ? say('backIn', { s: seconds(retryAt - Date.now()) }) : say('noLine');
  if (phase === 'refused') return say('noLine');
  return say('connecting');
}

/** The link to the other side: the same room, another person, another node. */
export function otherSide(href, node) {
  const long = node ? say('openOn', { node }) : say('openAgain');
  const short = node ? say('openOnShort', { node }) : say('openAgainShort');
  return h('a', { class: 'button small', href, target: '_blank', rel: 'noopener', 'aria-label': `${long} ${say('inNewTab')}` },
    h('span', { class: 'long', text: long }), h('span', { class: 'short', text: short }), icons.out());
}
