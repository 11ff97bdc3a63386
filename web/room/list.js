// The members: a row for each client, a chip for each of its connections, in
// the order in which they came. Closing one of two tabs takes a chip, not the
// person. Rows have known heights and are placed by transform, see stage.js.

import { h, setText, setVar, show, spoken } from '../dom.js';
import { avatar, graceRing } from '../avatar.js';
import { say, seconds, why } from '../strings.js';
import { shortConn } from '../members.js';

const ROW = 3.75, CHIP = 1.75, PAD = 0.5; // rem, as in room.css

export function memberList(room) {
  const rows = new Map(); // clientId → row
  const list = h('ul', { class: 'rows people', 'aria-label': say('membersList', { room }) });
  const empty = h('p', { class: 'empty', text: say('nobody'), hidden: true });
  const scroll = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': say('members') }, list, empty);
  const el = h('section', { class: 'panel members', 'aria-labelledby': 'h-members' },
    h('header', {}, h('h2', { id: 'h-members', text: say('members') }), h('span', { class: 'aside', text: say('byClient') })),
    scroll);

  const draw = (s) => {
    const all = [...s.people, ...s.ghosts.values()].sort((a, b) => a.since - b.since);
    let y = 0;
    const kept = new Set();
    all.forEach((p, i) => {
      kept.add(p.clientId);
      let r = rows.get(p.clientId);
      if (r?.gone && !p.gone) { // back as somebody new: it stands last
        r.el.remove();
        r = null;
      }
      if (!r) {
        rows.set(p.clientId, r = row(p));
        list.insertBefore(r.el, list.children[i] ?? null);
      }
      const tall = Math.max(ROW, PAD * 2 + CHIP * p.conns.length - 0.25);
      setVar(r.el, '--y', `${y}rem`);
      setVar(r.el, '--h', `${tall}rem`);
      r.gone = Boolean(p.gone);
      r.draw(p, s);
      y += tall;
    });
    for (const [id, r] of rows) {
      if (kept.has(id)) continue;
      r.el.remove();
      rows.delete(id);
    }
    setVar(list, '--h', `${y}rem`);
    show(empty, all.length === 0 && s.ready);
    el.dataset.loading = String(!s.ready && all.length === 0);
    el.dataset.stale = String(Boolean(s.stale));
  };
  return { el, draw, focus: () => scroll.focus() };
}

function row(person) {
  const face = avatar(person.clientId);
  const holder = h('span', { class: 'holder' }, face.el);
  const name = h('bdi', { class: 'name', dir: 'auto' });
  const you = h('span', { class: 'tag', text: say('you') });
  const kindSpoken = spoken('');
  const note = h('bdi', { class: 'note', dir: 'auto' });
  const chips = h('ul', { class: 'chips' });
  const el = h('li', { class: 'row person', data: { client: person.clientId } },
    holder, h('div', { class: 'who' }, h('p', { class: 'title' }, name, kindSpoken, you), note), chips);
  const byConn = new Map();
  let ring = null;

  return {
    el,
    draw(p, s) {
      const kind = p.gone ? 'left' : p.own ? s.ownState : 'live';
      el.dataset.state = kind;
      face.update(p.name, kind);
      setText(name, p.name);
      name.title = p.name;
      show(you, p.own);
      setText(kindSpoken, kind === 'live' ? '' : `, ${say(kind === 'grace' ? 'stateGrace' : 'stateLeft')}`);
      setText(note, noteOf(p, kind, s));
      if (kind === 'grace' && !ring) holder.append(ring = graceRing(s.graceMs, s.graceMs - s.graceLeft));
      if (kind !== 'grace' && ring) {
        ring.remove();
        ring = null;
      }
      drawChips(p.gone ? [] : p.conns);
    },
  };

  function drawChips(conns) {
    const kept = new Set(conns.map((c) => c.id));
    for (const [id, chip] of byConn) {
      if (kept.has(id)) continue;
      chip.remove();
      byConn.delete(id);
    }
    for (const c of conns) {
      const node = typeof c.data?.node === 'string' ? c.data.node : '';
      let chip = byConn.get(c.id);
      if (!chip) {
        chip = h('li', { class: 'chip mono', data: { conn: c.id }, title: c.id });
        byConn.set(c.id, chip);
        chips.append(chip);
      }
      if (chip.dataset.node === node) continue;
      chip.dataset.node = node;
      const conn = shortConn(c.id);
      chip.replaceChildren(
        h('span', { 'aria-hidden': 'true' }, node && h('b', { text: node.slice(0, 12) }), node && ' ', conn),
        spoken(node ? say('chip', { conn, node }) : say('chipNowhere', { conn })));
    }
  }
}

function noteOf(p, kind, s) {
  if (kind === 'grace') return say('away', { s: seconds(s.graceLeft) });
  if (kind === 'left' && p.gone) return p.reason ? say('leftWhy', { why: why(p.reason) }) : say('leftJustNow');
  return p.status;
}
