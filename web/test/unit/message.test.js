import { expect, test, vi } from 'vitest';

vi.stubGlobal('document', { documentElement: { lang: 'en' } });
const { ownMessage } = await import('../../room/message.js');

const base = {
  now: 100_000, ready: true, people: ['me', 'you'], member: true, wasMember: true, other: 'n2', asOf: '10:42:31',
  link: { phase: 'live', node: 'n1', graceMs: 0, since: 96_800 },
};
const at = (change, link = {}) => ownMessage({ ...base, ...change, link: { ...base.link, ...link } });

test.each([
  ['alone', {}, { people: ['me'] }, 'Only you. Open this room on n2 to see the other side.'],
  ['alone on the only node', {}, { people: ['me'], other: undefined }, 'Only you. Open a second tab to see the other side.'],
  ['among others', {}, {}, 'You are in the set. 1 other person sees you.'],
  ['watching', {}, { member: false }, 'You are watching: not in the set. 2 people are here.'],
  ['in an empty room', {}, { people: [], member: false }, 'Nobody is here yet. Join, or open a second tab.'],
  ['connecting', { phase: 'connecting' }, {}, 'Connecting to n1…'],
  ['cut without grace', { phase: 'cut' }, {}, 'Cable out. There is no grace on this node: others saw you leave.'],
  ['cut within grace', { phase: 'cut', graceMs: 10_000 }, {}, 'Others still see you for 6.8 s.'],
  ['lost within grace', { phase: 'lost', graceMs: 10_000 }, {}, 'Others still see you for 6.8 s.'],
  ['cut past grace', { phase: 'cut', graceMs: 3000 }, {}, 'Grace ended. Others saw you leave. Join again?'],
  ['cut while only watching', { phase: 'cut', graceMs: 10_000 }, { wasMember: false }, 'Cable out. You were only watching, so nobody saw a leave.'],
  ['lost', { phase: 'lost', retryAt: 102_000 }, {}, 'Connection lost. Trying again in 2.0 s.'],
  ['lost and trying', { phase: 'lost', retryAt: 100_000 }, {}, 'Connection lost. Trying again…'],
  ['offline', { phase: 'lost', retryAt: 102_000 }, { offline: true }, 'Your device is offline. The list is as of 10:42:31.'],
  ['given up', { phase: 'lost', since: -30_000 }, { gone: true }, 'No answer from n1 for 2 min.'],
  ['never answered', { phase: 'connecting', since: -30_000 }, { gone: true }, 'No answer from n1 for 2 min.'],
  ['refused', { phase: 'refused', error: { name: 'UnauthorizedError', message: 'unknown key' } }, {}, 'n1 refused this connection: UnauthorizedError. unknown key'],
  ['kicked', {}, { kicked: true, member: false }, 'You were removed from this room.'],
])('%s', (_, link, change, text) => {
  expect(at(change, link).text).toBe(text);
});

test('within grace the bar runs and the text is spoken once, without its countdown', () => {
  const early = at({}, { phase: 'cut', graceMs: 10_000 }), late = at({ now: 104_000 }, { phase: 'cut', graceMs: 10_000 });
  expect(early.bar).toEqual([10_000, 3200]);
  expect(early.spoken).toBe('Connection lost. Others see you for 10 seconds.');
  expect(late.spoken).toBe(early.spoken);
});

test('a notice stands until its time is over, and never over a lost line', () => {
  const notice = { tone: 'green', text: 'Back', until: 100_500 };
  expect(at({ notice }).text).toBe('Back');
  expect(at({ notice, now: 101_000 }).text).toBe('You are in the set. 1 other person sees you.');
  expect(at({ notice }, { phase: 'cut' }).text).not.toBe('Back');
});
