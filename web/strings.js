// Every sentence of the page, whole, with named places. Nothing is glued
// together from words elsewhere, so a translator needs this file only.
// An entry with `one` and `other` is chosen by the number `n`.

const english = {
  title: 'Presence Sets',
  titleRoom: '{room} · Presence Sets',
  titleFleet: '{room}, fleet · Presence Sets',
  titleSplit: '{room} on two nodes · Presence Sets',
  navViews: 'Views',
  navRoom: 'Room',
  navFleet: 'Fleet',
  sideBySide: 'Side by side',
  themeSystem: 'Theme: as the device',
  themeLight: 'Theme: light',
  themeDark: 'Theme: dark',
  announce: 'Announce joins and leaves',
  footer: 'Every person here is a real connection. This page uses the public calls of the SDK and nothing else.',
  footerFleet: 'Every vehicle here is a real connection. This page uses the public calls of the SDK and nothing else.',
  copy: 'Copy',
  copied: 'Copied',
  close: 'Close',

  // the wire strip
  wire: 'Connection',
  thisTab: 'This tab',
  tabOf: '{name}’s tab',
  controlRoom: 'Control room',
  node: 'Node {node}',
  nodeUnknown: 'Node',
  redis: 'Redis',
  pid: 'pid {pid}',
  ms: '{n} ms',
  roundTrip: 'median round trip {n} ms',
  cableOut: 'cable out',
  backIn: 'back in {s} s',
  noLine: 'no line',
  connecting: 'connecting',
  openOn: 'Open this room on {node}',
  openOnShort: '{node}',
  openAgain: 'Open this room in a second tab',
  openAgainShort: '2nd tab',
  inNewTab: '(new tab)',

  // the stage
  set: 'Who is here',
  is: '{room} =',
  you: 'you',
  left: 'left',
  secondsLeft: '{s} s left',
  more: '+{n}',
  moreSpoken: { one: '{n} more person: go to Members', other: '{n} more people: go to Members' },
  connections: { one: '{n} connection', other: '{n} connections' },
  clients: { one: '{n} client', other: '{n} clients' },
  connectionsWord: { one: 'connection', other: 'connections' },
  clientsWord: { one: 'client', other: 'clients' },
  trueAt: 'true at …{short}',
  trueAtSpoken: 'True at revision {revision}. Copy it',
  asOf: 'as of {time}',
  stateLive: 'here',
  stateGrace: 'away',
  stateLeft: 'left',
  stateSilent: 'no signal',

  // actions
  actions: 'What this tab does',
  pull: 'Pull the cable',
  plug: 'Plug it back in',
  status: 'Your status',
  statusHint: 'What are you doing?',
  update: 'Update',
  join: 'Join',
  leave: 'Leave',
  now: 'Now',
  tryAgain: 'Try again',
  orKill: 'Or kill its node:',
  kill: 'kill -9 {pid}',
  copyCommand: 'Copy the command: {command}',
  firstStatus: 'Just looking',

  // the message line: one's own state
  yourState: 'Your state',
  msgConnecting: 'Connecting to {node}…',
  msgConnectingAny: 'Connecting…',
  msgLive: { one: 'You are in the set. {n} other person sees you.', other: 'You are in the set. {n} other people see you.' },
  msgWatching: { one: 'You are watching: not in the set. {n} person is here.', other: 'You are watching: not in the set. {n} people are here.' },
  msgEmpty: 'Nobody is here yet. Join, or open a second tab.',
  msgAlone: 'Only you. Open this room on {node} to see the other side.',
  msgAloneTab: 'Only you. Open a second tab to see the other side.',
  msgGrace: 'Others still see you for {s} s.',
  msgGraceOver: 'Grace ended. Others saw you leave. Join again?',
  msgCutNoGrace: 'Cable out. There is no grace on this node: others saw you leave.',
  msgCutWatching: 'Cable out. You were only watching, so nobody saw a leave.',
  msgBack: 'Back on {node} after {s} s. Nobody saw a leave.',
  msgBackAgain: 'Back on {node} after {s} s. Others saw you leave and join again.',
  msgBackWatching: 'Back on {node} after {s} s.',
  msgBackLeft: 'Back on {node} after {s} s. Others saw you leave. Join again?',
  msgLost: 'Connection lost. Trying again in {s} s.',
  msgLostNow: 'Connection lost. Trying again…',
  msgOffline: 'Your device is offline. The list is as of {time}.',
  msgGaveUp: 'No answer from {node} for {time}.',
  msgRefused: '{node} refused this connection: {name}. {message}',
  msgNotStored: 'Redis does not answer: nothing was stored. Try again.',
  msgFailed: '{name}: {message}',
  msgKicked: 'You were removed from this room.',
  spokenGrace: { one: 'Connection lost. Others see you for {n} second.', other: 'Connection lost. Others see you for {n} seconds.' },
  spokenLost: 'Connection lost. Trying again.',
  minutes: { one: '{n} min', other: '{n} min' },

  // members
  members: 'Members',
  byClient: 'By client',
  membersList: 'Members of {room}',
  chip: 'connection {conn} on {node}',
  chipNowhere: 'connection {conn}',
  away: 'Away, {s} s of grace left',
  leftJustNow: 'Left just now',
  leftWhy: 'Left just now: {why}',
  nobody: 'Nobody is here.',

  // why a membership ended, in the words of the page
  whyLeft: 'left the set',
  whyRoomLeft: 'left the room',
  whyClosed: 'closed the tab',
  whyTimeout: 'lost the line',
  whyNodeLost: 'the node went down',
  whyKicked: 'was removed',
  whyExpired: 'time was up',
  whyUnknown: 'found missing',

  // events
  events: 'Events',
  eventsList: 'Events of {room}, newest first',
  noGap: '{n} seen, no gap',
  gaps: { one: '{seen} seen, {n} gap, repaired at …{short}', other: '{seen} seen, {n} gaps, repaired at …{short}' },
  evJoin: '{name} joined',
  evJoinOn: '{name} joined on {node}',
  evUpdate: '{name} {status}',
  evUpdateSilent: '{name} sent an update',
  evLeave: '{name} left, {reason}',
  evLeaveSilent: '{name} left',
  times: '×{n}',
  timesSpoken: '{n} times',
  noteStart: 'Watching from …{short}',
  noteStartEmpty: 'Watching an empty room',
  noteCut: 'Cable out',
  noteCutGrace: 'Cable out, {s} s of grace',
  noteLost: 'Line lost',
  noteLostGrace: 'Line lost, {s} s of grace',
  noteBack: 'Back on {node} in {s} s',
  noteGap: 'Gap before …{short}, list read again',
  exactJsonAt: 'Exactly what came at {revision}',

  // code
  code: 'This page in ten lines',
  codeText: 'The ten lines',
  received: 'What line {n} just received',
  nothingYet: 'Nothing yet. Open a second tab, and line 6 hears it.',
  payload: 'The payload, as it came',

  // side by side
  split: 'Side by side',
  pane: '{name} on node {node}',
  paneAny: '{name}’s tab',
  tooNarrow: 'Two panes need a wider window. Open the other side in a second tab instead.',
  openSecond: 'Open the room as {name} on {node}',

  // fleet
  fleet: 'Fleet',
  mapSpoken: { one: 'City map with {n} vehicle. The table beside it holds the same data.', other: 'City map with {n} vehicles. The table beside it holds the same data.' },
  vehicles: { one: '{n} vehicle', other: '{n} vehicles' },
  vehiclesWord: { one: 'vehicle', other: 'vehicles' },
  fleetLive: '{n} live',
  fleetSilent: '{n} no signal',
  fleetLeft: '{n} left',
  vehiclesHead: 'Vehicles',
  tableOf: 'Vehicles of {room}',
  colState: 'State',
  colPlate: 'Plate',
  colWhere: 'Where',
  colSpeed: 'km/h',
  colHeard: 'Heard',
  rates: '{n} updates/s, {kb} kB/s',
  heard: '{s} s',
  heardLeft: 'left',
  silentFor: 'no signal {s} s',
  leftRoom: 'left the room',
  vehicleLine: '{speed} km/h, heard {s} s ago',
  vehicleSilent: 'no signal for {s} s, last {speed} km/h',
  toTunnel: 'Send a van into the tunnel',
  cutSignal: 'Cut signal for {s} s',
  driven: 'Vehicles',
  drivenNone: 'None',
  drivenSpoken: 'Vehicles that this tab drives',
  inTheVan: 'In the van',
  lines: '{n} lines',
  vanCode: 'The van’s code',
  msgElsewhere: { one: '{n} vehicle is driven by another tab. This one only watches.', other: '{n} vehicles are driven by another tab. This one only watches.' },
  msgCapped: 'A browser holds about 250 sockets, so this tab drives {n} vans. The rest can come from elsewhere.',
  msgVansRefused: { one: '{n} van could not connect: {why}', other: '{n} vans could not connect: {why}' },
  msgTunnel: '{plate} is on its way into the tunnel.',
  msgSignalCut: '{plate} sends nothing for {s} s. Its line stays open, so nobody hears a leave.',
  msgNoVan: 'This tab drives no van. Choose how many first.',
  msgFleetLive: 'Each vehicle is a connection of its own. Pick one to follow it.',
  msgFleetEmpty: 'No vehicle is in the room. Choose how many this tab drives.',
  msgFleetLost: 'Connection lost. The map is as of {time}.',
  spokenSilent: { one: '{n} vehicle without signal', other: '{n} vehicles without signal' },
  placeRiver: 'River', placePark: 'Central Park', placeTunnel: 'Hill tunnel', placeHarbour: 'Harbour',

  // read aloud
  saidJoined: '{name} joined.',
  saidLeft: '{name} left.',
  saidTogether: '{first} {second}',
  saidSum: '{joined} joined, {left} left. {here} here.',
};

const locale = document.documentElement.lang || 'en';
const plural = new Intl.PluralRules(locale);
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const fine = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' });

export const number = (n) => whole.format(n);
export const decimal = (n) => tenths.format(n);
export const seconds = (ms) => tenths.format(Math.max(0, ms) / 1000);
export const time = (ms) => clock.format(ms);
export const timeMs = (ms) => fine.format(ms);

// A made-up language whose texts are 40 % longer shows what would not fit.
let lengthen = false;
export function pretendLongerTexts() { lengthen = true; }

function pattern(key, values) {
  let p = english[key];
  if (p === undefined) throw new Error(`no text called ${key}`);
  if (typeof p === 'object') p = p[plural.select(values.n)] ?? p.other;
  return lengthen ? `${p} ${'ẋ'.repeat(Math.ceil(p.replace(/\{\w+\}/g, '').length * 0.4))}` : p;
}

const show = (v) => (typeof v === 'number' ? number(v) : String(v));

/** The sentence `key` with its places filled. */
export function say(key, values = {}) {
  return pattern(key, values).replace(/\{(\w+)\}/g, (_, name) => show(values[name]));
}

/** The same as nodes, so that a name can be bold or a number can have a class. */
export function parts(key, values = {}) {
  return pattern(key, values).split(/(\{\w+\})/).filter(Boolean).map((piece) => {
    const v = values[/^\{(\w+)\}$/.exec(piece)?.[1]];
    if (v === undefined) return document.createTextNode(piece);
    return v instanceof Node ? v : document.createTextNode(show(v));
  });
}

/** The word of a leave's reason, for people. */
export function why(reason) {
  const key = { left: 'whyLeft', room_left: 'whyRoomLeft', closed: 'whyClosed', timeout: 'whyTimeout', node_lost: 'whyNodeLost', kicked: 'whyKicked', expired: 'whyExpired', unknown: 'whyUnknown' }[reason];
  return key ? say(key) : String(reason);
}

/** People for the demo: a first visit gets one of these names. */
export const people = ['Ada Okafor', 'Bo Lindqvist', 'Cy Moreau', 'Dina Tanaka', 'Иван Петров', 'Zoë Åberg', 'Ella Novak', 'Femi Adeyemi', 'Gus Marín', 'Hana Sato', 'Idris Khan', 'Juno Weiss', 'Kofi Mensah', 'Lena Fischer', 'Mira Costa', 'Noor Haddad', 'Omar Aziz', 'Pia Rossi', 'Quinn Byrne', 'Rosa Ortiz', 'Sami Virtanen', 'Tara Singh', 'Uma Patel', 'Vito Greco'];
