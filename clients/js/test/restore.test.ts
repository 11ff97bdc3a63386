import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RelayBox } from '../src/index';
import { usual, type Answer } from './fake-server';
import { connected, failure, ScriptedSocket, settled } from './scripted-socket';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Loses the socket and lets the next one be acknowledged; the answers come by themselves. */
async function reconnect(relayBox: RelayBox): Promise<ScriptedSocket> {
  const lost = ScriptedSocket.last;
  lost.end();
  void relayBox.connect();
  expect(ScriptedSocket.last).not.toBe(lost);
  ScriptedSocket.last.hello({ node: 'f2' });
  await settled();
  return ScriptedSocket.last;
}

const told = (relayBox: RelayBox): unknown[][] => {
  const log: unknown[][] = [];
  for (const name of ['connect', 'reconnected', 'error'] as const) relayBox.connection.on(name, (...args: unknown[]) => log.push([name, ...args]));
  return log;
};

test('rooms, subscriptions and memberships with their last data are put in place before `reconnected`', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  const heard: unknown[] = [];
  await room.presence.subscribe('join', (event) => heard.push(event));
  await room.subscribe('message', (message) => heard.push(message));
  await room.presence.join({ n: 1 });
  await room.presence.update({ n: 2 });
  const watched = await relayBox.join('watched');
  await watched.subscribe((message) => heard.push(message));
  const present = await relayBox.join('present');
  await present.presence.join();

  const log = told(relayBox);
  relayBox.connection.on('reconnected', () => log.push(['sent', ScriptedSocket.last.sent.length]));
  const socket = await reconnect(relayBox);
  const sent = socket.sent.map(({ type, body }) => [body['roomId'], type, body['event'] ?? body['userData']]);
  expect(sent.filter(([id]) => id === 'myRoom')).toEqual([
    ['myRoom', 'room:join', undefined],
    ['myRoom', 'room:subscription:bind', 'message'],
    ['myRoom', 'room:presence:subscribe', 'join'],
    ['myRoom', 'room:presence:join', { n: 2 }],
  ]);
  expect(sent.filter(([id]) => id === 'watched')).toEqual([
    ['watched', 'room:join', undefined],
    ['watched', 'room:subscription:bind', '$:subscribe:all'],
  ]);
  expect(socket.sent.filter(({ body }) => body['roomId'] === 'present').map(({ body }) => body)).toEqual([{ roomId: 'present' }, { roomId: 'present' }]);
  expect(log).toEqual([['connect', expect.objectContaining({ node: 'f2' })], ['reconnected', 1], ['sent', 8]]);
  socket.frame('app1:myRoom:$:presence:join', { event: 'join' });
  socket.frame('app1:watched::$:subscribe:all', { event: 'a' });
  expect(heard).toEqual([{ event: 'join' }, { event: 'a' }]);
});

test('nothing is put back that was taken back: left, unsubscribed, refused', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join({ n: 1 });
  await room.presence.leave();
  const undo = await room.presence.subscribe(() => {});
  await undo();
  await room.subscribe('a', () => {});
  await room.unsubscribe();
  const left = await relayBox.join('left');
  await left.presence.join();
  await left.leave();
  const refused = await relayBox.join('refused');
  ScriptedSocket.answer = () => ({ err: { name: 'NoClientIdError', message: 'no' } });
  await failure(refused.presence.join());
  ScriptedSocket.answer = usual;
  const socket = await reconnect(relayBox);
  expect(socket.sent.map(({ type, body }) => [type, body['roomId']])).toEqual([['room:join', 'myRoom'], ['room:join', 'refused']]);
});

test('a leave that went down with its connection is not undone by the reconnect', async () => {
  const { relayBox } = await connected();
  const first = await relayBox.join('first');
  const second = await relayBox.join('second');
  await Promise.all([first.presence.join(), second.presence.join()]);
  ScriptedSocket.answer = () => null;
  const leaving = [failure(first.presence.leave()), failure(second.leave())];
  ScriptedSocket.last.end();
  for (const one of leaving) expect(await one).toMatchObject({ code: 'disconnected' });
  ScriptedSocket.answer = usual;
  void relayBox.connect();
  ScriptedSocket.last.hello();
  await settled();
  expect(ScriptedSocket.last.sent.map(({ type, body }) => [type, body['roomId']])).toEqual([['room:join', 'first']]);
});

test('a leave that the server refused leaves the membership to be put back', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join({ n: 1 });
  ScriptedSocket.answer = () => ({ err: { name: 'UnavailableError', message: 'later', status: 503, retry: true } });
  await failure(room.presence.leave());
  ScriptedSocket.answer = usual;
  const socket = await reconnect(relayBox);
  expect(socket.sent.at(-1)).toMatchObject({ type: 'room:presence:join', body: { userData: { n: 1 } } });
});

test('the last call decides what is put back, in whatever order the answers come', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join({ n: 1 });
  ScriptedSocket.answer = () => null;
  const updates = [room.presence.update({ n: 2 }), room.presence.update({ n: 3 })];
  const [two, three] = socket.sent.slice(-2);
  socket.acknowledge(three!, {});
  socket.acknowledge(two!, {});
  await Promise.all(updates);
  ScriptedSocket.answer = usual;
  expect((await reconnect(relayBox)).sent.at(-1)?.body).toEqual({ roomId: 'myRoom', userData: { n: 3 } });
});

test('calls made meanwhile wait until the room is back, then go out in order', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join({ n: 1 });
  ScriptedSocket.answer = (request) => (request.type === 'room:presence:join' ? null : usual(request));
  const calls: Promise<unknown>[] = [];
  relayBox.connection.on('connect', () => calls.push(room.presence.update({ n: 2 }), room.presence.get()));
  const log = told(relayBox);
  const socket = await reconnect(relayBox);
  expect(socket.types).toEqual(['room:join', 'room:presence:join']);
  expect(log.map(([name]) => name)).toEqual(['connect']);
  socket.acknowledge(socket.sent.at(-1)!, {});
  await Promise.all(calls);
  expect(socket.types.slice(2)).toEqual(['room:presence:update', 'room:presence:get']);
  expect(log.map(([name]) => name)).toEqual(['connect', 'reconnected']);
});

test('while there is no connection, calls of a room are refused at once', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  socket.end();
  expect(await failure(room.presence.update(1))).toMatchObject({ code: 'disconnected', retry: true });
  expect(await failure(relayBox.join('other'))).toMatchObject({ code: 'disconnected', retry: true });
  relayBox.disconnect();
});

test('what may succeed later is asked again, after the time that the server names', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join();
  const limits = ['room:join', 'room:presence:join'];
  ScriptedSocket.answer = (request): Answer => {
    if (limits[0] !== request.type) return usual(request);
    limits.shift();
    return { err: { name: 'RateLimitError', message: 'slowly', status: 429, retry: true, retryAfterMs: 1_500 } };
  };
  const log = told(relayBox);
  const socket = await reconnect(relayBox);
  expect(socket.types).toEqual(['room:join']);
  await vi.advanceTimersByTimeAsync(1_499);
  expect(socket.types).toEqual(['room:join']);
  await vi.advanceTimersByTimeAsync(1);
  expect(socket.types).toEqual(['room:join', 'room:join', 'room:presence:join']);
  await vi.advanceTimersByTimeAsync(1_500);
  expect(socket.types).toEqual(['room:join', 'room:join', 'room:presence:join', 'room:presence:join']);
  expect(log.map(([name]) => name)).toEqual(['connect', 'reconnected']);
  expect(vi.getTimerCount()).toBe(0);
});

test('a room that is refused ends with that error; the others are put back', async () => {
  const { relayBox } = await connected();
  const [gone, kept] = [await relayBox.join('gone'), await relayBox.join('kept')];
  await kept.presence.join();
  ScriptedSocket.answer = (request) =>
    request.body['roomId'] === 'gone' ? { err: { name: 'ForbiddenError', message: 'no', status: 403 } } : usual(request);
  const log = told(relayBox);
  const socket = await reconnect(relayBox);
  expect(log.map(([name]) => name)).toEqual(['connect', 'error', 'reconnected']);
  expect(log[1]?.[1]).toMatchObject({ name: 'ForbiddenError' });
  expect(await failure(gone.presence.join())).toMatchObject({ name: 'ForbiddenError' });
  expect(socket.sent.at(-1)).toMatchObject({ type: 'room:presence:join', body: { roomId: 'kept' } });
  ScriptedSocket.answer = usual;
  expect(await relayBox.join('gone')).not.toBe(gone);
});

test('a subscription that is refused is told, and the room goes on', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  await room.subscribe('a', () => {});
  ScriptedSocket.answer = (request) =>
    request.type === 'room:subscription:bind' ? { err: { name: 'ForbiddenError', message: 'no' } } : usual(request);
  const log = told(relayBox);
  await reconnect(relayBox);
  expect(log.map(([name]) => name)).toEqual(['connect', 'error', 'reconnected']);
  expect((await room.presence.get()).revision).toBe(7);
});

test('a connection that is lost again in the middle begins from the start on the next one', async () => {
  const { relayBox } = await connected();
  const rooms = await Promise.all(Array.from({ length: 20 }, (_, n) => relayBox.join(`room${n}`)));
  for (const room of rooms) await room.presence.join(room.id);
  const log = told(relayBox);
  let answers = 12;
  ScriptedSocket.answer = (request) => (answers-- > 0 ? usual(request) : null);
  await reconnect(relayBox);
  ScriptedSocket.answer = usual;
  const socket = await reconnect(relayBox);
  expect(log.map(([name]) => name)).toEqual(['connect', 'connect', 'reconnected']);
  expect(new Set(socket.sent.map(({ body }) => body['userData']).filter(Boolean)).size).toBe(20);
  expect(socket.sent).toHaveLength(40);
  relayBox.disconnect();
  expect(vi.getTimerCount()).toBe(0);
});

test('disconnect() ends a wait for the next try of a room', async () => {
  const { relayBox } = await connected();
  await relayBox.join('myRoom');
  ScriptedSocket.answer = () => ({ err: { name: 'UnavailableError', message: 'later', retry: true } });
  await reconnect(relayBox);
  expect(vi.getTimerCount()).toBe(1);
  relayBox.disconnect();
  expect(vi.getTimerCount()).toBe(0);
});
