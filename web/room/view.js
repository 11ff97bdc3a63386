// The room: joins it, watches it, and draws what is true. The calls below are
// the ten lines that the page shows.

import { h, onceAFrame } from '../dom.js';
import { Announcer, voice } from '../announce.js';
import { addresses, GIVE_UP, Link } from '../link.js';
import { byClient, nameOf, shortName, shortRevision, Watch } from '../members.js';
import { otherSide, strip } from '../strip.js';
import { codePanel } from '../code.js';
import { decimal, say, seconds, time } from '../strings.js';
import { actions } from './actions.js';
import { eventList, payloadDialog } from './events.js';
import { memberList } from './list.js';
import { messageLine, notice } from './message.js';
import { bodyOf, pretty } from './payload.js';
import { stage } from './stage.js';

const LINGER = 4000;      // how long one who left is still shown, outside
const LINE = { join: 6, update: 7, leave: 8, list: 9, joined: 10 };

const tenLines = (room, clientId) => [
  "import { RelayBox } from '@relaybox/client';",
  '',
  `const box = new RelayBox({ apiKey, clientId: '${clientId.replace(/[\\']/g, '\\$&')}' });`,
  'await box.connect();',
  `const room = box.join('${room}');`,
  "await room.presence.subscribe('join', add);",
  "await room.presence.subscribe('update', redraw);",
  "await room.presence.subscribe('leave', fade);",
  'show(await room.presence.get());',
  'await room.presence.join({ name, status, node });',
];

/** Draws the room into `main` and runs it. `page` is what main.js read from the URL and demo.json. */
export function roomView(main, page) {
  const frames = new Frames();
  const link = new Link({ url: addresses(page.target).socket, apiKey: page.apiKey, clientId: page.clientId, node: page.target.id, onFrame: (t) => frames.see(t) });
  const room = new RoomState(page, link);
  const others = voice();
  const announcer = new Announcer(others, () => room.people.length);
  page.onAnnounce((on) => { announcer.enabled = on; });

  const dialog = payloadDialog();
  const received = h('pre', { class: 'mono json', tabindex: '0', role: 'region', 'aria-label': say('payload'), text: say('nothingYet') });
  const receivedHead = h('h2', { id: 'h-received', text: say('received', { n: LINE.join }) });
  const code = page.pane ? null : codePanel({
    id: 'h-code', title: say('code'), label: say('codeText'), lines: tenLines(page.room, page.clientId),
    children: [h('header', { class: 'second' }, receivedHead), received],
  });
  const events = eventList(page.room, dialog);
  const list = memberList(page.room);
  const scene = stage(page.room, () => list.focus());
  const doing = { cable: () => room.cable(), update: (text) => room.update(text), membership: () => room.membership() };
  const controls = actions(doing, { pid: page.pane ? null : page.target.pid, status: say('firstStatus') });
  room.status = () => controls.status;
  const message = messageLine(() => room.view(), { now: () => link.now(), try: () => location.reload() });
  const wire = strip(link, page.pane
    ? { who: say('tabOf', { name: shortName(page.name) }), pid: page.target.pid, after: scene.at }
    : { who: say('thisTab'), redis: true, after: otherSide(page.otherHref, page.other?.id) });

  main.append(wire.el, message.el, h('div', { class: 'card set-card' }, scene.el, controls.el),
    h('div', { class: 'columns' }, ...(page.pane ? [events.el, list.el] : [list.el, events.el, code.el])), dialog.el, others.el);

  const draw = onceAFrame(() => {
    const s = room.view();
    main.dataset.phase = s.link.phase;
    main.dataset.gone = String(s.gone);
    scene.draw(s);
    controls.draw(s);
    list.draw(s);
    events.draw(room.watch.set);
    message.draw();
  });
  room.changed = draw;
  room.ran = (what, event) => {
    if (!code) return;
    code.ran(LINE[what], event?.event ?? 'join');
    if (!event) return;
    receivedHead.textContent = say('received', { n: LINE[what] });
    received.replaceChildren(...pretty(frames.json(event)));
  };
  room.heard = (event, before) => {
    events.add(event, before, frames.json(event));
    if (event.clientId === page.clientId) return;
    const name = shortName(nameOf(event.data ?? before?.data, event.clientId));
    if (event.event === 'join') announcer.joined(name);
    if (event.event === 'leave') announcer.left(name);
  };
  room.noted = (...note) => events.note(...note);
  draw();
  room.run();
  return room;
}

/** The frames of the last events, to show one exactly as it came. */
class Frames {
  #byRevision = new Map();

  see(text) {
    if (!text.includes(':$:presence:')) return;
    const revision = /"revision":(\d+)/g;
    let last = null;
    for (let m; (m = revision.exec(text));) last = m[1]; // the data may hold the word, too: ours stands last
    if (last) this.#byRevision.set(Number(last), bodyOf(text));
    if (this.#byRevision.size > 400) this.#byRevision.delete(this.#byRevision.keys().next().value);
  }

  json(event) { return this.#byRevision.get(event.revision) ?? JSON.stringify(event); }
}

/** The facts of the room and what can be done with them; draws nothing. */
class RoomState {
  people = []; ghosts = new Map(); notice = null; kicked = false; busy = false;
  watch = null; status = () => '';
  changed = () => {}; ran = () => {}; heard = () => {}; noted = () => {};
  #page; #link; #room = null; #wasMember = false; #memberSince = 0; #sentNode = ''; #asOf = 0; #downAt = 0; #clock = null; #since = new Map();

  constructor(page, link) {
    this.#page = page;
    this.#link = link;
    this.watch = new Watch(null, {});
    link.onChange((state, before) => this.#lineChanged(state, before));
  }

  /** The page's ten lines. */
  async run() {
    const link = this.#link;
    try {
      await link.connect();
      this.#room = link.box.join(this.#page.room);
      this.watch = new Watch(this.#room, {
        event: (event, verdict, before) => this.#event(event, verdict, before),
        list: (removed) => this.#list(removed),
        error: (error) => this.#failed(error),
      });
      await this.watch.start();
      this.ran('list');
      const { revision } = this.watch.set;
      this.noted('calm', revision ? 'noteStart' : 'noteStartEmpty', { short: shortRevision(revision) });
      await this.#join();
      link.measure(this.#room);
    } catch (error) {
      this.#failed(error);
    }
    this.changed();
  }

  get member() { return this.watch.set.members.get(this.#link.id); }

  async #join() {
    this.ran('joined');
    await this.#room.presence.join(this.#data());
  }

  #data() {
    this.#sentNode = this.#link.state.node;
    return { name: this.#page.name, status: this.status(), node: this.#sentNode };
  }

  update(_text) {
    if (this.#link.state.phase === 'live' && this.member) this.#do(() => this.#room.presence.update(this.#data()));
  }

  membership() {
    if (this.#link.state.phase !== 'live' || this.busy || !this.#room) return;
    this.kicked = false;
    this.#do(() => (this.member ? this.#room.presence.leave() : this.#join()));
  }

  cable() {
    const { phase } = this.#link.state;
    if (this.#link.cableOut) this.#link.plug();
    else if (phase !== 'connecting' && phase !== 'refused') this.#link.pull();
  }

  async #do(call) {
    this.busy = true;
    try {
      await call();
      this.notice = null;
    } catch (error) {
      this.#failed(error);
    }
    this.busy = false;
    this.changed();
  }

  #failed(error) {
    if (error.code === 'disconnected') return; // the line says so itself
    const text = error.name === 'UnavailableError' ? say('msgNotStored') : say('msgFailed', { name: error.name, message: error.message });
    this.notice = notice('red', text, 8000);
    this.changed();
  }

  #event(event, verdict, before) {
    if (verdict === 'gap') this.noted('amber', 'noteGap', { short: shortRevision(event.revision) });
    this.heard(event, before);
    this.ran(event.event, event);
    const own = event.connectionId === this.#link.id;
    if (own && event.event === 'leave' && event.reason === 'kicked') this.kicked = true;
    if (event.event === 'leave' && before) this.#mayLinger(before, event.reason);
    this.#recount();
  }

  #list(removed) {
    for (const m of removed) this.#mayLinger(m, '');
    this.#recount();
  }

  /** Who has no connection left is shown outside for a while. */
  #mayLinger(member, reason) {
    if ([...this.watch.set.members.values()].some((m) => m.clientId === member.clientId)) return;
    const [person] = byClient([member], this.#link.id);
    const ghost = { ...person, since: this.#since.get(member.clientId) ?? person.since, gone: true, own: false, reason };
    this.ghosts.set(member.clientId, ghost);
    setTimeout(() => {
      if (this.ghosts.get(member.clientId) === ghost) this.ghosts.delete(member.clientId);
      this.changed();
    }, LINGER);
  }

  #recount() {
    this.people = byClient(this.watch.set.members.values(), this.#link.id, this.#since);
    for (const p of this.people) this.ghosts.delete(p.clientId);
    if (this.#link.state.phase === 'live') {
      this.#wasMember = Boolean(this.member);
      this.#memberSince = this.member?.since ?? 0;
    }
    this.changed();
  }

  async #lineChanged(state, before) {
    if (state.phase !== before.phase) {
      const down = state.phase === 'cut' || state.phase === 'lost';
      if (down && before.phase === 'live') this.#wentDown(state);
      if (state.phase === 'live' && this.#downAt && this.#room) await this.#cameBack(state);
    }
    this.changed();
  }

  #wentDown({ phase, graceMs, since }) {
    this.#downAt = this.#asOf = since;
    const word = phase === 'cut' ? 'noteCut' : 'noteLost';
    this.noted('amber', graceMs > 0 ? `${word}Grace` : word, { s: Math.round(graceMs / 1000) });
    setTimeout(() => this.changed(), GIVE_UP + 100); // then the list is hidden
    if (graceMs > 0) this.#clock = setInterval(() => this.changed(), 100); // the seconds left
  }

  async #cameBack({ node, graceMs }) {
    const away = Date.now() - this.#downAt;
    const was = this.#wasMember, since = this.#memberSince;
    this.#downAt = 0;
    clearInterval(this.#clock);
    try {
      await this.watch.read();
    } catch (error) {
      return this.#failed(error);
    }
    const values = { node, s: seconds(away) };
    const kept = graceMs > 0 && this.member?.since === since;
    const key = !was ? 'msgBackWatching' : kept ? 'msgBack' : this.member ? 'msgBackAgain' : 'msgBackLeft';
    this.notice = notice(key === 'msgBackLeft' ? 'grey' : 'green', say(key, values));
    this.noted('green', 'noteBack', { node, s: decimal(away / 1000) });
    if (this.member && node !== this.#sentNode) this.#do(() => this.#room.presence.update(this.#data()));
  }

  /** What the parts of the page draw from. */
  view() {
    const link = this.#link.state;
    const down = link.phase === 'cut' || link.phase === 'lost';
    const graceLeft = this.#wasMember ? this.#link.graceLeft : 0;
    return {
      link, now: Date.now(), ready: this.watch.ready || down,
      people: this.people, ghosts: this.ghosts, connections: this.watch.set.members.size, revision: this.watch.set.revision,
      member: Boolean(this.member) && !(down && graceLeft === 0), wasMember: this.#wasMember,
      ownState: !down ? 'live' : graceLeft > 0 ? 'grace' : 'left', graceLeft, graceMs: link.graceMs,
      stale: down && graceLeft === 0, asOf: down ? time(this.#asOf) : '', offline: this.#link.offline, gone: this.#link.gone,
      cableOut: this.#link.cableOut, notice: this.notice, kicked: this.kicked, busy: this.busy, other: this.#page.other?.id,
    };
  }
}
