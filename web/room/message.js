// The message line: this tab's own state in one sentence. Its space is always
// kept, so nothing below it moves. `ownMessage` decides, `messageLine` shows.

import { h, setText, setVar, show } from '../dom.js';
import { state as sign } from '../signs.js';
import { say, seconds } from '../strings.js';
import { voice } from '../announce.js';

/**
 * What to say now. `s` is the room's state as the view knows it; the answer is
 * `{tone, text, sign, bar, action, spoken}`: `bar` is `[total, elapsed]` of a
 * running grace in ms, `action` a button, `spoken` is read aloud once.
 */
export function ownMessage(s) {
  const { link, now, notice } = s;
  const { phase, node, graceMs, since, retryAt, error } = link;
  if (phase === 'refused') return red('msgRefused', { node: node || say('nodeUnknown'), name: error.name, message: error.message }, 'try');
  if (phase === 'connecting' && s.gone) return gaveUp(s, since, now);
  if (phase === 'connecting') return calm(node ? 'msgConnecting' : 'msgConnectingAny', { node });
  if (phase === 'cut' || phase === 'lost') return away(s, { phase, graceMs, since, retryAt, now });
  if (s.kicked) return grey('msgKicked');
  if (notice && notice.until > now) return notice;
  if (!s.ready) return calm(node ? 'msgConnecting' : 'msgConnectingAny', { node });
  const here = s.people.length;
  if (here === 0) return calm('msgEmpty');
  if (!s.member) return calm('msgWatching', { n: here });
  if (here === 1) return s.other ? calm('msgAlone', { node: s.other }) : calm('msgAloneTab');
  return { tone: 'calm', sign: 'live', text: say('msgLive', { n: here - 1 }) };
}

function away(s, { phase, graceMs, since, retryAt, now }) {
  const left = since + graceMs - now;
  if (s.wasMember && graceMs > 0 && left > 0) {
    return {
      tone: 'amber', sign: 'grace', text: say('msgGrace', { s: seconds(left) }), bar: [graceMs, now - since],
      spoken: say('spokenGrace', { n: Math.round(graceMs / 1000) }),
    };
  }
  if (phase === 'cut') {
    if (!s.wasMember) return grey('msgCutWatching');
    return grey(graceMs > 0 ? 'msgGraceOver' : 'msgCutNoGrace');
  }
  if (s.offline) return { ...grey('msgOffline', { time: s.asOf }), sign: 'grace', tone: 'amber' };
  if (s.gone) return gaveUp(s, since, now);
  const wait = retryAt - now;
  const text = wait > 100 ? say('msgLost', { s: seconds(wait) }) : say('msgLostNow');
  return { tone: 'amber', sign: 'grace', text, action: wait > 1000 ? 'now' : undefined, spoken: say('spokenLost') };
}

const gaveUp = (s, since, now) => red('msgGaveUp', { node: s.link.node, time: say('minutes', { n: Math.floor((now - since) / 60_000) }) }, 'try');
const calm = (key, values) => ({ tone: 'calm', text: say(key, values) });
const grey = (key, values) => withSpoken({ tone: 'grey', sign: 'left', text: say(key, values) });
const red = (key, values, action) => withSpoken({ tone: 'red', sign: 'left', text: say(key, values), action });
const withSpoken = (m) => ({ ...m, spoken: m.text });

/** A sentence that stands for a while over the usual one. */
export function notice(tone, text, ms = 4000) {
  return { tone, sign: tone === 'green' ? 'live' : 'left', text, spoken: text, until: Date.now() + ms };
}

/** The line itself. `read()` gives the state for {@link ownMessage}. */
export function messageLine(read, actions) {
  const mark = h('span', { class: 'mark' });
  const text = h('span', { class: 'text' });
  const bar = h('span', { class: 'meter', 'aria-hidden': 'true' }, h('span', { class: 'fill' }));
  const button = h('button', { class: 'button small', type: 'button', on: { click: () => actions[shown.action]?.() } });
  const own = voice();
  const el = h('section', { class: 'message', 'aria-label': say('yourState') }, mark, text, bar, button, own.el);

  let shown = {}, spoken = '', ticking = null;
  const draw = () => {
    const m = ownMessage(read());
    el.dataset.tone = m.tone;
    setText(text, m.text);
    if (m.sign !== shown.sign) mark.replaceChildren(...(m.sign ? [sign(m.sign)] : []));
    show(bar, Boolean(m.bar));
    if (m.bar && !shown.bar) {
      setVar(bar, '--grace-time', `${m.bar[0]}ms`);
      setVar(bar, '--elapsed', `${-m.bar[1]}ms`);
    }
    show(button, Boolean(m.action));
    if (m.action) setText(button, m.action === 'now' ? say('now') : say('tryAgain'));
    shown = m;
    const aloud = m.spoken ?? '';
    if (aloud !== spoken) own.speak(spoken = aloud);
    // Seconds run and notices end by themselves; a calm line needs no clock.
    const runs = m.tone !== 'calm';
    if (runs && ticking === null) ticking = setInterval(draw, 100);
    if (!runs && ticking !== null) {
      clearInterval(ticking);
      ticking = null;
    }
  };
  return { el, draw };
}
