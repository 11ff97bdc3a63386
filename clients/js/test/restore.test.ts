import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RelayBox } from '../src/index';
import { usual, type Answer } from './fake-server';
import { own, PresenceServer } from './presence-server';
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

const sent = (socket: ScriptedSocket, room: string): unknown[] =>
  socket.sent.filter(({ body }) => body['roomId'] === room).map(({ type, body }) => [type.replace('room:', ''), body['event'] ?? body['userData']]);

/** Three rooms: one with all there is, one that is only watched, one with only a membership. */
async function threeRooms(relayBox: RelayBox): Promise<unknown[]> {
  const heard: unknown[] = [];
  const room = await relayBox.join('myRoom');
  await room.presence.subscribe('join', (event) => heard.push(event));
  await room.subscribe('message', (message) => heard.push(message));
  await room.presence.join({ n: 1 });
  await room.presence.update({ n: 2 });
  await (await relayBox.join('watched')).subscribe((message) => heard.push(message));
  await (await relayBox.join('present')).presence.join();
  heard.length = 0;
  return heard;
}

test('what the server has kept is asked for and not made again: no join of a room, no event', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const heard = await threeRooms(relayBox);
  const before = server.revision;
  const log = told(relayBox);
  const socket = await reconnect(relayBox);
  expect(sent(socket, 'myRoom')).toEqual([['subscription:bind', 'message'], ['presence:subscribe', 'join'], ['presence:get', undefined]]);
  expect(sent(socket, 'watched')).toEqual([['subscription:bind', '$:subscribe:all']]);
  expect(sent(socket, 'present')).toEqual([['presence:get', undefined]]);
  expect(log.at(-1)).toEqual(['reconnected', 1, { resumed: true, rooms: [], memberships: [] }]);
  expect(server.revision).toBe(before);
  expect(heard).toEqual([]);
});

test('what is only a membership less is joined again, with the last data', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  await threeRooms(relayBox);
  ScriptedSocket.last.end();
  server.forget('memberships');
  const log = told(relayBox);
  const socket = await reconnect(relayBox);
  expect(sent(socket, 'myRoom').slice(2)).toEqual([['presence:get', undefined], ['presence:join', { n: 2 }]]);
  expect(sent(socket, 'present')).toEqual([['presence:get', undefined], ['join', undefined], ['presence:join', undefined]]);
  expect(log.at(-1)).toEqual(['reconnected', 1, { resumed: false, rooms: [], memberships: expect.arrayContaining(['myRoom', 'present']) }]);
  expect(server.list('myRoom')).toMatchObject([{ connectionId: own, data: { n: 2 } }]);
});

test('where nothing was kept all is put in place before `reconnected`', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const heard = await threeRooms(relayBox);
  ScriptedSocket.last.end();
  server.forget('all');
  const log = told(relayBox);
  const socket = await reconnect(relayBox);
  expect(sent(socket, 'myRoom').slice(-5)).toEqual([
    ['join', undefined], ['subscription:bind', 'message'], ['presence:subscribe', 'join'], ['presence:get', undefined], ['presence:join', { n: 2 }],
  ]);
  expect(sent(socket, 'watched').slice(-2)).toEqual([['join', undefined], ['subscription:bind', '$:subscribe:all']]);
  const restored = { resumed: false, rooms: ['myRoom', 'watched'], memberships: expect.arrayContaining(['myRoom', 'present']) };
  expect(log).toEqual([['connect', expect.objectContaining({ node: 'f2' })], ['reconnected', 1, restored]]);
  expect([...server.joined].sort()).toEqual(['myRoom', 'present', 'watched']);
  expect(server.bound).toEqual(new Set(['myRoom::message', 'myRoom join', 'watched::$:subscribe:all']));
  expect(heard).toMatchObject([{ event: 'join', connectionId: own, data: { n: 2 } }]);
});

test('a join whose answer is lost is not sent twice', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected({ timeouts: { requestMs: 2_000 } });
  await (await relayBox.join('myRoom')).presence.join(1);
  ScriptedSocket.last.end();
  server.forget('memberships');
  let lost = 0;
  server.refuse = (request) => {
    if (request.type !== 'room:presence:join' || lost++ > 0) return undefined;
    server.enter('myRoom', own, request.body['userData']);
    return null;
  };
  const log = told(relayBox);
  const socket = await reconnect(relayBox);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(sent(socket, 'myRoom').map((one) => (one as string[])[0])).toEqual(['presence:get', 'join', 'presence:join', 'presence:get']);
  expect(log.at(-1)).toEqual(['reconnected', 1, { resumed: false, rooms: [], memberships: ['myRoom'] }]);
  relayBox.disconnect();
});

test('in a room too large to be told, an update shows whether the membership was kept', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  await (await relayBox.join('kept')).presence.join('k');
  await (await relayBox.join('lost')).presence.join('l');
  ScriptedSocket.last.end();
  server.leave('lost', own);
  server.refuse = ({ type }) => (type.endsWith('get') ? { err: { name: 'PayloadTooLargeError', message: 'too many members', status: 413 } } : undefined);
  const socket = await reconnect(relayBox);
  expect(sent(socket, 'kept').slice(1)).toEqual([['presence:update', 'k']]);
  expect(sent(socket, 'lost').slice(1)).toEqual([['presence:update', 'l'], ['join', undefined], ['presence:join', 'l']]);
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
  // Rooms in which there is nothing are joined: nothing else could tell whether they were kept.
  expect(socket.sent.map(({ type, body }) => [type, body['roomId']])).toEqual([['room:join', 'myRoom'], ['room:join', 'refused']]);
});

test('a leave that went down with its socket is sent again on the next one, before anything is restored', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const first = await relayBox.join('first');
  const second = await relayBox.join('second');
  await Promise.all([first.presence.join(), second.presence.join()]);
  server.refuse = () => null;
  const leaving = [first.presence.leave(), second.leave()];
  ScriptedSocket.last.end();
  server.refuse = () => undefined;
  const socket = await reconnect(relayBox);
  await Promise.all(leaving);
  expect(socket.sent.slice(0, 2).map(({ type, body }) => [type, body['roomId']])).toEqual([['room:presence:leave', 'first'], ['room:leave', 'second']]);
  expect(socket.types).not.toContain('room:presence:join');
  expect([server.list('first'), server.list('second'), [...server.joined]]).toEqual([[], [], ['first']]);
});

test('what was left while there was no socket is left when there is one again, also when the call was rejected', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected({ reconnect: { baseMs: 60_000, capMs: 60_000 } });
  const [first, second] = [await relayBox.join('first'), await relayBox.join('second')];
  await Promise.all([first.presence.join(), second.presence.join()]);
  const undo = await first.subscribe('message', () => {});
  ScriptedSocket.last.end();
  const leaving = [failure(first.presence.leave('bye')), failure(second.leave())];
  void undo();
  await vi.advanceTimersByTimeAsync(10_000);
  for (const one of leaving) expect(await one).toMatchObject({ code: 'disconnected' });
  const socket = await reconnect(relayBox);
  expect([server.list('first'), server.list('second'), [...server.joined], [...server.bound]]).toEqual([[], [], ['first'], []]);
  expect(socket.sent.find(({ type }) => type === 'room:presence:leave')?.body['userData']).toBe('bye');
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
  expect(socket.types).toEqual(['room:presence:get', 'room:join', 'room:presence:join']);
  expect(log.map(([name]) => name)).toEqual(['connect']);
  socket.acknowledge(socket.sent.at(-1)!, {});
  await Promise.all(calls);
  expect(socket.types.slice(3)).toEqual(['room:presence:update', 'room:presence:get']);
  expect(log.map(([name]) => name)).toEqual(['connect', 'reconnected']);
});

test('calls made in an outage wait for its end, in order, and go out once the room is back', async () => {
  new PresenceServer();
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join(1);
  socket.end();
  const calls = [room.presence.update(2), relayBox.join('other'), room.publish('message', 3), relayBox.create('third')];
  const next = await reconnect(relayBox);
  await Promise.all(calls);
  expect(next.types).toEqual(['room:join', 'room:create', 'room:presence:get', 'room:presence:update', 'publish']);
});

test('an outage that lasts rejects what waits, then refuses at once, until the connection is back', async () => {
  const server = new PresenceServer();
  const { relayBox, socket } = await connected({ reconnect: { baseMs: 60_000, capMs: 60_000 } });
  const room = await relayBox.join('myRoom');
  const log = told(relayBox);
  relayBox.connection.on('suspended', () => log.push(['suspended']));
  socket.end();
  const waiting = [failure(room.presence.update(1)), failure(relayBox.join('other'))];
  await vi.advanceTimersByTimeAsync(9_999);
  expect(log).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  for (const one of waiting) expect(await one).toMatchObject({ code: 'disconnected', retry: true });
  expect(log.at(-1)).toEqual(['suspended']);
  expect(await failure(room.presence.join())).toMatchObject({ code: 'disconnected', retry: true });
  expect(await failure(relayBox.join('other'))).toMatchObject({ code: 'disconnected', retry: true });
  await reconnect(relayBox);
  await room.presence.join(2);
  expect(server.list('myRoom')).toMatchObject([{ data: 2 }]);
  relayBox.disconnect();
  expect(vi.getTimerCount()).toBe(0);
});

test('no more than 256 requests wait for a connection', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  socket.end();
  const calls = Array.from({ length: 256 }, (_, n) => failure(room.publish('message', n)));
  expect(await failure(room.publish('message', 256))).toMatchObject({ code: 'disconnected', message: expect.stringContaining('256') });
  relayBox.disconnect();
  await Promise.all(calls);
});

test('an answer that comes late, on the next socket, is the answer', async () => {
  const server = new PresenceServer();
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join(1);
  server.refuse = () => null;
  const updating = room.presence.update(2);
  const publishing = failure(room.publish('message', 1));
  const [update] = socket.sent.slice(-2);
  server.refuse = () => undefined;
  const next = await reconnect(relayBox);
  next.acknowledge(update!, { data: 'ok' });
  await updating;
  // Not sent again: it may have been done.
  expect(next.types).not.toContain('publish');
  await vi.advanceTimersByTimeAsync(2_500);
  expect(await publishing).toMatchObject({ code: 'disconnected', retry: true, message: expect.stringContaining('may have been done') });
  expect(vi.getTimerCount()).toBe(0);
});

test('a join of a room, a list and a subscription that were under way succeed on the next socket', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  server.refuse = () => null;
  const heard: unknown[] = [];
  const calls: PromiseLike<unknown>[] = [relayBox.join('other'), room.presence.get(), room.presence.subscribe('join', (event) => heard.push(event.clientId))];
  server.refuse = () => undefined;
  await reconnect(relayBox);
  await vi.advanceTimersByTimeAsync(2_500);
  await Promise.all(calls);
  server.enter('myRoom', 'app1:bob', 1);
  expect(heard).toEqual(['bob']);
  expect([...server.joined].sort()).toEqual(['myRoom', 'other']);
});

test('joins of many rooms are spread, so that the application finds room', async () => {
  new PresenceServer();
  const { relayBox } = await connected();
  await Promise.all(Array.from({ length: 30 }, (_, n) => relayBox.join(`room${n}`)));
  const socket = await reconnect(relayBox);
  expect(socket.sent).toHaveLength(20);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(socket.sent).toHaveLength(24);
  await vi.advanceTimersByTimeAsync(1_500);
  expect(socket.sent).toHaveLength(30);
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
  expect(socket.types.slice(1)).toEqual(['room:join']);
  await vi.advanceTimersByTimeAsync(1_499);
  expect(socket.types.slice(1)).toEqual(['room:join']);
  await vi.advanceTimersByTimeAsync(1);
  expect(socket.types.slice(1)).toEqual(['room:join', 'room:join', 'room:presence:join']);
  await vi.advanceTimersByTimeAsync(1_500);
  expect(socket.types.slice(4)).toEqual(['room:presence:get', 'room:presence:join']);
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
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const rooms = await Promise.all(Array.from({ length: 10 }, (_, n) => relayBox.join(`room${n}`)));
  for (const room of rooms) await room.presence.join(room.id);
  ScriptedSocket.last.end();
  server.forget('all');
  const log = told(relayBox);
  let answers = 12;
  server.refuse = () => (answers-- > 0 ? undefined : null);
  await reconnect(relayBox);
  server.refuse = () => undefined;
  await reconnect(relayBox);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(log.map(([name]) => name)).toEqual(['connect', 'connect', 'reconnected']);
  expect(rooms.map(({ id }) => server.list(id).map(({ data }) => data))).toEqual(rooms.map(({ id }) => [id]));
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

test('a leave that is refused on the next socket leaves the room to be restored', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  await room.presence.join(1);
  ScriptedSocket.last.end();
  const leaving = failure(room.leave());
  server.refuse = ({ type }) => (type === 'room:leave' ? { err: { name: 'UnavailableError', message: 'later', status: 503, retry: true } } : undefined);
  await reconnect(relayBox);
  expect(await leaving).toMatchObject({ code: 'unavailable' });
  await room.presence.update(2);
  expect(server.list('myRoom')).toMatchObject([{ data: 2 }]);
  relayBox.disconnect();
});

test('who subscribes while a room that is gone is put in place again is subscribed after it', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  const heard: unknown[] = [];
  await room.presence.subscribe('join', () => heard.push('first'));
  ScriptedSocket.last.end();
  server.forget('all');
  const calls: Promise<unknown>[] = [];
  relayBox.connection.on('connect', () => calls.push(room.presence.subscribe('join', () => heard.push('second'))));
  await reconnect(relayBox);
  await Promise.all(calls);
  server.enter('myRoom', 'app1:bob');
  expect(heard).toEqual(['first', 'second']);
});

test('a handler that is taken back while its room is put in place again is taken back', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  const undo = await room.subscribe('message', () => {});
  const calls: Promise<unknown>[] = [];
  relayBox.connection.on('connect', () => calls.push(undo()));
  await reconnect(relayBox);
  await Promise.all(calls);
  expect([...server.bound]).toEqual([]);
});

test('a live map can be opened after an outage in which its room was being joined, or had nothing', async () => {
  const server = new PresenceServer();
  server.enter('joining', 'app1:bob');
  server.enter('idle', 'app1:bob');
  const { relayBox } = await connected();
  const idle = await relayBox.join('idle');
  server.refuse = () => null;
  const joining = relayBox.join('joining');
  server.refuse = () => undefined;
  await reconnect(relayBox);
  expect((await (await joining).presence.members.ready()).size).toBe(1);
  expect((await idle.presence.members.ready()).size).toBe(1);
});
