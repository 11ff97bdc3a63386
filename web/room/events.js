// The events as they came, newest first, and notes of what this tab saw itself
// (without a revision). A new row is put above the others by moving the whole
// list with a transform, so that it shifts nothing.

import { h, pinned, setText, setVar, spoken } from '../dom.js';
import { number, parts, say, timeMs } from '../strings.js';
import { nameOf, shortName, shortRevision, statusOf } from '../members.js';
import { pretty } from './payload.js';

const KEPT = 200;
const SIGNS = { join: '+', update: '~', leave: '−', note: '·' };

export function eventList(room, dialog) {
  const head = pinned({ class: 'aside' });
  const list = h('ol', { class: 'rows log', 'aria-label': say('eventsList', { room }) });
  const scroll = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': say('events') }, list);
  const el = h('section', { class: 'panel events', 'aria-labelledby': 'h-events' },
    h('header', {}, h('h2', { id: 'h-events', text: say('events') }), head.el), scroll);
  const rows = []; // oldest first; a row's place is its number
  let count = 0;

  const put = (row) => {
    setVar(row.el, '--i', ++count);
    setVar(list, '--count', count);
    list.prepend(row.el);
    rows.push(row);
    if (rows.length > KEPT) rows.shift().el.remove();
    setVar(list, '--rows', rows.length);
  };

  return {
    el,
    /** An event, with the member before it (for a leave) and its JSON as it came. */
    add(event, before, json) {
      const top = rows.at(-1);
      if (event.event === 'update' && top?.fold === event.connectionId) {
        top.again(event, json);
        tint(top.el);
        return;
      }
      const row = eventRow(event, before, json, dialog);
      put(row);
      tint(row.el);
    },
    /** What this tab saw itself: `tone` amber, green or calm. */
    note(tone, key, values = {}) {
      put({ el: h('li', { class: 'row', data: { kind: 'note', tone } }, when(Date.now()), sign('note'), h('span', { class: 'what', text: say(key, values) })), fold: null });
    },
    draw(set) {
      const values = { n: set.gaps, seen: number(set.seen), short: shortRevision(set.repairedAt) };
      head.set(set.gaps > 0 ? say('gaps', values) : say('noGap', { n: set.seen }));
    },
  };
}

/** A new row's ground fades; the row itself does not move. */
function tint(el) {
  el.animate([{ opacity: 1 }, { opacity: 1, offset: 0.4 }, { opacity: 0 }], { duration: 1200, pseudoElement: '::before' });
}

const when = (ms) => h('time', { class: 'mono', datetime: new Date(ms).toISOString(), text: timeMs(ms) });
const sign = (kind) => h('span', { class: `sign-text ${kind}`, 'aria-hidden': 'true', text: SIGNS[kind] });

function eventRow(event, before, json, dialog) {
  let latest = { event, json };
  let times = 1;
  const time = h('span', { class: 'when' });
  const what = h('span', { class: 'what' });
  const fold = h('span', { class: 'tag', hidden: true });
  const rev = h('span', { class: 'rev mono' });
  const open = h('button', {
    class: 'open', type: 'button',
    on: { click: () => dialog.open(say('exactJsonAt', { revision: String(latest.event.revision) }), latest.json) },
  }, time, sign(event.event), what, fold, rev);
  const el = h('li', { class: 'row', data: { kind: event.event, revision: event.revision } }, open);
  const draw = () => {
    const e = latest.event;
    time.replaceChildren(when(Date.parse(e.timestamp)));
    what.replaceChildren(...sentence(e, before));
    setText(rev, `…${shortRevision(e.revision)}`);
    rev.title = String(e.revision);
    fold.hidden = times === 1;
    if (times > 1) fold.replaceChildren(h('span', { 'aria-hidden': 'true', text: say('times', { n: times }) }), spoken(say('timesSpoken', { n: times })));
  };
  draw();
  return {
    el,
    fold: event.event === 'update' ? event.connectionId : null,
    again(next, nextJson) {
      latest = { event: next, json: nextJson };
      times++;
      draw();
    },
  };
}

function sentence(e, before) {
  // A leave may carry no data: then the name is the one last known.
  const data = e.data ?? before?.data;
  const bold = h('bdi', { class: 'bold', dir: 'auto', text: shortName(nameOf(data, e.clientId)) });
  if (e.event === 'join') {
    const node = typeof data?.node === 'string' ? data.node : '';
    return node ? parts('evJoinOn', { name: bold, node: h('bdi', { text: node }) }) : parts('evJoin', { name: bold });
  }
  if (e.event === 'leave') return e.reason && e.reason !== 'left' ? parts('evLeave', { name: bold, reason: e.reason }) : parts('evLeaveSilent', { name: bold });
  const status = statusOf(data);
  return status ? parts('evUpdate', { name: bold, status: h('bdi', { dir: 'auto', text: status }) }) : parts('evUpdateSilent', { name: bold });
}

/** The dialog that shows one event to the letter. Esc closes it and gives the focus back. */
export function payloadDialog() {
  const title = h('h2', { id: 'h-payload' });
  const pre = h('pre', { class: 'mono json', tabindex: '0', role: 'region', 'aria-label': say('payload') });
  const close = h('button', { class: 'button', type: 'button', text: say('close'), on: { click: () => el.close() } });
  const el = h('dialog', { class: 'payload', 'aria-labelledby': 'h-payload', on: { click: (e) => e.target === el && el.close() } },
    h('div', { class: 'sheet' }, title, pre, h('div', { class: 'buttons' }, close)));
  return {
    el,
    open(text, json) {
      setText(title, text);
      pre.replaceChildren(...pretty(json));
      el.showModal();
      close.focus();
    },
  };
}
