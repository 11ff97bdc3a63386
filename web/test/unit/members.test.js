import { expect, test, vi } from 'vitest';
import { byClient, MemberSet, nameOf, statusOf, Watch } from '../../members.js';

const at = (s) => new Date(Date.UTC(2026, 0, 1, 0, 0, s)).toISOString();
const join = (id, revision, data, clientId = id) => ({ event: 'join', connectionId: id, clientId, revision, data, timestamp: at(revision) });
const update = (id, revision, data) => ({ ...join(id, revision, data), event: 'update' });
const leave = (id, revision, reason = 'left') => ({ ...join(id, revision), event: 'leave', reason });
const list = (revision, ...members) => Object.assign(members, { revision });
const ids = (set) => [...set.members.keys()];

test('a list is in the order of joining, whatever order it came in', () => {
  const set = new MemberSet();
  set.reset(list(9, join('c', 7), join('a', 3), join('b', 5)), 0);
  expect(ids(set)).toEqual(['a', 'b', 'c']);
  expect(set.revision).toBe(9);
});

test('what the list holds already is not folded in again', () => {
  const set = new MemberSet();
  set.reset(list(5, join('a', 4)), 0);
  expect(set.apply(leave('a', 5), 0)).toBe('old');
  expect(ids(set)).toEqual(['a']);
  expect(set.apply(leave('a', 6), 0)).toBe('ok');
  expect(ids(set)).toEqual([]);
  expect(set.seen).toBe(1);
});

test('a hole in the revisions is a gap, an emptied room that begins anew is none', () => {
  const set = new MemberSet();
  set.apply(join('a', 100), 0);
  expect(set.apply(join('b', 102), 0)).toBe('gap');
  expect(set.apply(leave('a', 103), 0)).toBe('ok');
  expect(set.apply(leave('b', 104), 0)).toBe('ok');
  expect(set.apply(join('c', 9000), 0)).toBe('ok');
  expect(set.gaps).toBe(1);
});

test('the leaves of a repair may share one revision', () => {
  const set = new MemberSet();
  for (const e of [join('a', 1), join('b', 2), join('c', 3)]) set.apply(e, 0);
  expect(set.apply(leave('a', 4, 'unknown'), 0)).toBe('ok');
  expect(set.apply(leave('b', 4, 'unknown'), 0)).toBe('ok');
  expect(ids(set)).toEqual(['c']);
});

test('a member keeps its object through updates and lists, and gets a new one with a new membership', () => {
  const set = new MemberSet();
  set.reset(list(1, join('a', 1, 'one')), 10);
  const a = set.members.get('a');
  set.apply(update('a', 2, 'two'), 20);
  expect(set.members.get('a')).toBe(a);
  expect(a).toMatchObject({ data: 'two', heard: 20 });
  set.reset(list(3, { ...join('a', 1, 'three'), revision: 3 }), 30);
  expect(set.members.get('a')).toBe(a);
  expect(a).toMatchObject({ data: 'three', heard: 30, revision: 3 });
  expect(set.reset(list(5, join('a', 5, 'four')), 40)).toEqual([]);
  expect(set.members.get('a')).not.toBe(a);
});

test('a list says who is gone since the last one', () => {
  const set = new MemberSet();
  set.reset(list(2, join('a', 1), join('b', 2)), 0);
  expect(set.reset(list(3, join('b', 2)), 0).map((m) => m.id)).toEqual(['a']);
});

test('one who joins or leaves while the list is on its way is neither lost nor counted twice', async () => {
  let hear = {}, answer;
  const room = { presence: { subscribe: async (event, fn) => { hear[event] = fn; }, get: () => new Promise((done) => { answer = done; }) } };
  const on = { event: vi.fn(), list: vi.fn(), error: vi.fn() };
  const watch = new Watch(room, on);
  const started = watch.start();
  await vi.waitFor(() => expect(answer).toBeDefined());
  hear.join(join('early', 5));
  hear.leave(leave('gone', 6));
  hear.join(join('late', 7));
  answer(list(6, join('early', 5)));
  await started;
  expect(ids(watch.set)).toEqual(['early', 'late']);
  expect(on.event).toHaveBeenCalledOnce();
});

test('after a gap the list is read again and the gap is closed', async () => {
  let hear = {};
  const lists = [list(1, join('a', 1)), list(4, join('a', 1), join('b', 3), join('c', 4))];
  const room = { presence: { subscribe: async (event, fn) => { hear[event] = fn; }, get: async () => lists.shift() } };
  const verdicts = [];
  const watch = new Watch(room, { event: (e, verdict) => verdicts.push(verdict), list() {}, error() {} });
  await watch.start();
  hear.join(join('c', 4));
  await vi.waitFor(() => expect(watch.set.repairedAt).toBe(4));
  expect(verdicts).toEqual(['gap']);
  expect(ids(watch.set)).toEqual(['a', 'b', 'c']);
});

test('the connections of a client are one person, with the newest name', () => {
  const set = new MemberSet();
  set.reset(list(3, join('1', 1, { name: 'Bo' }, 'bo'), join('2', 2, { name: 'Cy' }, 'cy'), join('3', 3, { name: 'Bo L', status: 'x' }, 'bo')), 0);
  const [bo, cy] = byClient(set.members.values(), '2');
  expect(bo).toMatchObject({ name: 'Bo L', status: 'x', own: false });
  expect(bo.conns.map((c) => c.id)).toEqual(['1', '3']);
  expect(cy).toMatchObject({ name: 'Cy', own: true });
});

test.each([
  [{ name: 'Ada', status: 'here' }, 'Ada', 'here'],
  [{ name: 42 }, 'id', '{"name":42}'],
  [{ name: '  ' }, 'id', ''],
  [undefined, 'id', ''],
  [null, 'id', ''],
  [[1, 2], 'id', '[1,2]'],
  ['text', 'id', '"text"'],
  [0, 'id', '0'],
  [{ status: '' }, 'id', ''],
])('data %j is the name %s and the status %s', (data, name, status) => {
  expect([nameOf(data, 'id'), statusOf(data)]).toEqual([name, status]);
});
