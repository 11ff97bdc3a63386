// Reads the page's state from its URL (?room=&name=&view=&node=), asks the node
// what it serves (demo.json), and hands over to the view.

import { h } from './dom.js';
import { addresses } from './link.js';
import { icons, labelled, logo } from './signs.js';
import { people, pretendLongerTexts, say } from './strings.js';

const ROOM = /^[A-Za-z0-9_:.-]{1,255}$/;

start();

async function start() {
  const params = new URLSearchParams(location.search);
  languageOf(params);
  const view = { fleet: 'fleet', split: 'split' }[params.get('view')] ?? 'room';
  const demo = await (await fetch('demo.json')).json();
  const page = pageOf(params, view, demo);
  document.documentElement.dataset.view = view;
  document.documentElement.dataset.pane = String(page.pane);
  const main = document.querySelector('main');
  frame(page, main);
  const make = {
    room: async () => (await import('./room/view.js')).roomView,
    fleet: async () => (await import('./fleet/view.js')).fleetView,
    split: async () => (await import('./split.js')).splitView,
  };
  (await make[view]())(main, page);
}

/** For checking layouts: ?lang=x-long lengthens every text, ?dir=rtl mirrors the page. */
function languageOf(params) {
  if (params.get('lang') === 'x-long') pretendLongerTexts();
  if (params.get('dir') === 'rtl') document.documentElement.dir = 'rtl';
}

function pageOf(params, view, demo) {
  const asked = params.get('room');
  const room = ROOM.test(asked ?? '') ? asked : view === 'fleet' ? 'fleet-north' : 'design-review';
  const name = nameOf(params);
  // A node that the page was not told of is not asked for; its own node is
  // reached by the page's own address, whatever proxy is before it.
  const nodes = demo.nodes.map((n) => (n.id === demo.node ? { ...n, url: location.origin } : n));
  const target = nodes.find((n) => n.id === params.get('node')) ?? nodes.find((n) => n.id === demo.node) ?? { id: demo.node, url: location.origin };
  const other = nodes.find((n) => n.id !== target.id) ?? null;
  const link = (change) => linkTo(params, change);
  return {
    view, room, name, clientId: clientIdOf(name), apiKey: demo.apiKey, nodes, target, other, link,
    pane: params.get('pane') === '1',
    next: nextName(name),
    otherHref: new URL(link({ view: 'room', node: null, name: nextName(name) }), addresses(other).page).href,
    onAnnounce: () => {},
  };
}

/** The name in the URL; a first visit is given one, and keeps it in this tab. */
function nameOf(params) {
  const asked = params.get('name')?.trim();
  if (asked) return asked.slice(0, 128);
  let name;
  try { name = sessionStorage.getItem('name'); } catch { /* no storage: a new name at each visit */ }
  name ??= people[Math.floor(Math.random() * people.length)];
  try { sessionStorage.setItem('name', name); } catch { /* the same */ }
  params.set('name', name);
  history.replaceState(null, '', `?${params}`);
  return name;
}

const nextName = (name) => people[(people.indexOf(name) + 1) % people.length];

/**
 * A clientId from a name: the same name in two tabs is one client with two
 * connections. The names we give differ in their first word, so that is enough.
 */
function clientIdOf(name) {
  const id = (people.includes(name) ? name.split(' ')[0] : name).toLowerCase().replace(/\s+/gu, '-');
  const bytes = new TextEncoder().encode(id);
  return new TextDecoder().decode(bytes.slice(0, 128)).replace(/\uFFFD+$/u, '');
}

function linkTo(params, change) {
  const next = new URLSearchParams(params);
  for (const [key, value] of Object.entries(change)) {
    if (value === null) next.delete(key);
    else next.set(key, value);
  }
  return `?${next}`;
}

/** The bar and the foot: the same on every view; a pane has neither. */
function frame(page, main) {
  main.append(h('h1', { class: 'vh', text: say('title') }));
  document.title = page.view === 'fleet' ? say('titleFleet', { room: page.room }) : page.view === 'split' ? say('titleSplit', { room: page.room }) : say('titleRoom', { room: page.room });
  if (page.pane) return;
  const tab = (view, text) => h('a', { href: page.link({ view, room: null }), 'aria-current': view === page.view ? 'page' : null, text });
  const theme = h('button', { class: 'quiet theme', type: 'button' }, icons.theme());
  const drawTheme = () => {
    const chosen = globalThis.theme.chosen();
    const text = say({ system: 'themeSystem', light: 'themeLight', dark: 'themeDark' }[chosen]);
    theme.setAttribute('aria-label', text);
    theme.title = text;
  };
  theme.addEventListener('click', () => {
    globalThis.theme.next();
    drawTheme();
  });
  drawTheme();
  document.querySelector('header.bar').append(
    h('a', { class: 'wordmark', href: page.link({ view: 'room', room: null }), 'aria-label': say('title') }, logo(), h('span', { text: say('title') })),
    h('nav', { class: 'tabs', 'aria-label': say('navViews') }, tab('room', say('navRoom')), tab('fleet', say('navFleet'))),
    h('span', { class: 'gap' }), h('span', { class: 'slot-right' }),
    h('a', { class: 'quiet split-link', href: page.link({ view: 'split', node: null, room: page.view === 'fleet' ? null : page.room }), 'aria-current': page.view === 'split' ? 'page' : null }, ...labelled(icons.split(), say('sideBySide'))),
    theme);
  foot(page);
}

function foot(page) {
  const listeners = [];
  const read = () => { try { return localStorage.getItem('announce') !== 'off'; } catch { return true; } };
  const box = h('input', { type: 'checkbox', id: 'announce', role: 'switch' });
  box.checked = read();
  box.addEventListener('change', () => {
    try { localStorage.setItem('announce', box.checked ? 'on' : 'off'); } catch { /* kept for this visit only */ }
    for (const fn of listeners) fn(box.checked);
  });
  page.onAnnounce = (fn) => {
    listeners.push(fn);
    fn(box.checked);
  };
  const says = page.view === 'split' ? null : h('span', { class: 'switch' }, box, h('label', { for: 'announce', text: say('announce') }));
  document.querySelector('footer').append(h('p', { text: say(page.view === 'fleet' ? 'footerFleet' : 'footer') }), ...(says ? [says] : []));
}
