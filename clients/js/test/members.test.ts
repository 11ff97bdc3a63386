import { expect, test, vi, beforeEach, afterEach } from 'vitest';
import type { MembersChange, PresenceEvent, RelayBox } from '../src/index';
import { usual } from './fake-server';
import { own, PresenceServer } from './presence-server';
import { client, connected, failure, ScriptedSocket, settled } from './scripted-socket';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const [ana, bob, cy, dan] = ['app1:ana', 'app1:bob', 'app1:cy', 'app1:dan'] as const;

/** A change in short: `+bob=1 ~cy=2 -dan`. */
const short = ({ joined, updated, left }: MembersChange): string =>
  [...joined.map((m) => `+${m.clientId}=${m.data}`), ...updated.map((m) => `~${m.clientId}=${m.data}`), ...left.map((m) => `-${m.clientId}`)].join(' ');

const tell = ({ event, clientId, data }: PresenceEvent): string => `${event} ${clientId}=${String(data)}`;

async function reconnect(relayBox: RelayBox, meanwhile: () => void): Promise<ScriptedSocket> {
  ScriptedSocket.last.end();
  meanwhile();
  void relayBox.connect();
  ScriptedSocket.last.hello();
  await settled();
  return ScriptedSocket.last;
}

test('asking for it begins nothing; ready() subscribes and lists, once', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  server.enter('r', cy, 2);
  const { relayBox, socket } = await connected();
  const { members } = (await relayBox.join('r')).presence;
  expect([members.size, members.live, [...members], socket.types]).toEqual([0, false, [], ['room:join']]);
  const [first, second] = await Promise.all([members.ready(), members.ready()]);
  expect(first).toBe(members);
  expect(second).toBe(members);
  expect(socket.sent.slice(1).map(({ type, body }) => [type, body['event']])).toEqual([
    ['room:presence:subscribe', 'join'], ['room:presence:subscribe', 'update'], ['room:presence:subscribe', 'leave'], ['room:presence:get', undefined],
  ]);
  expect([...members.keys()]).toEqual([bob, cy]);
  expect(members.get(bob)).toEqual({
    id: bob, connectionId: bob, clientId: 'bob', data: 1, revision: 101, timestamp: '2026-01-01T00:00:00.000Z',
  });
  expect([members.size, members.has(cy), members.has(dan), members.live, members.revision]).toEqual([2, true, false, true, 102]);
  expect([...members.values()].map(({ data }) => data)).toEqual([1, 2]);
  expect([...members.entries()]).toEqual([...members]);
  const seen: unknown[] = [];
  members.forEach((member, id, map) => seen.push([id, member.clientId, map === members]));
  expect(seen).toEqual([[bob, 'bob', true], [cy, 'cy', true]]);
  relayBox.disconnect();
});

test('it follows joins, updates and leaves, in the order of joining, one change for a frame', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const { relayBox } = await connected();
  const { members } = (await relayBox.join('r')).presence;
  const changes: string[] = [];
  members.onChange((change, map) => changes.push(`${short(change)} of ${map.size}`));
  await settled();
  server.enter('r', cy, 2);
  await settled();
  server.enter('r', bob, 3);
  await settled();
  expect([...members.keys()]).toEqual([bob, cy]);
  const before = members.get(bob);
  server.leave('r', bob);
  await settled();
  server.enter('r', bob, 4);
  await settled();
  expect([...members.keys()]).toEqual([cy, bob]);
  expect(before?.data).toBe(3);
  expect(changes).toEqual(['+bob=1 of 1', '+cy=2 of 2', '~bob=3 of 2', '-bob of 1', '+bob=4 of 2']);
});

test('what comes and goes within one turn is told as what it comes to', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const { relayBox } = await connected();
  const { members } = (await relayBox.join('r')).presence;
  await members.ready();
  const changes: string[] = [];
  members.onChange((change) => changes.push(short(change)));
  server.enter('r', cy, 1);
  server.leave('r', cy);
  server.enter('r', dan, 1);
  server.enter('r', dan, 2);
  server.leave('r', bob);
  server.enter('r', bob, 5);
  await settled();
  expect(changes).toEqual(['+dan=2 +bob=5 -bob']);
});

test('events that the first list holds already are ignored, those above it are applied, in whatever order they come', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  server.enter('r', cy, 1);
  let get: any;
  server.refuse = (request) => {
    if (request.type !== 'room:presence:get') return undefined;
    get = request;
    return null;
  };
  const { relayBox, socket } = await connected();
  const { members } = (await relayBox.join('r')).presence;
  const changes: string[] = [];
  members.onChange((change) => changes.push(short(change)));
  await settled();
  server.enter('r', dan, 1);
  server.leave('r', bob);
  const [list, revision] = [structuredClone(server.list('r')), server.revision];
  server.enter('r', ana, 1);
  server.leave('r', cy);
  await settled();
  expect([members.size, changes]).toEqual([0, []]);
  socket.acknowledge(get, { data: list, revision });
  await settled();
  expect([...members.keys()]).toEqual([dan, ana]);
  expect(changes).toEqual(['+dan=1 +ana=1']);
});

test('an empty room is an empty map', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const { members } = (await relayBox.join('r')).presence;
  await members.ready();
  expect([members.size, members.live, members.revision]).toEqual([0, true, 0]);
  server.enter('r', bob, 1);
  expect([...members.keys()]).toEqual([bob]);
});

test('it shares its subscriptions with handlers, whatever is taken back first', async () => {
  const server = new PresenceServer();
  const { relayBox, socket } = await connected();
  const { presence } = await relayBox.join('r');
  const heard: string[] = [];
  const undo = await presence.subscribe('join', (event) => heard.push(tell(event)));
  await presence.members.ready();
  await presence.subscribe((event) => heard.push(tell(event)));
  expect(socket.types.filter((type) => type.endsWith('subscribe'))).toHaveLength(3);
  await undo();
  await presence.unsubscribe();
  server.enter('r', bob, 1);
  expect([heard, presence.members.size]).toEqual([[], 1]);
  await presence.subscribe('leave', (event) => heard.push(tell(event)));
  await presence.members.close();
  expect(presence.members.size).toBe(0);
  expect([...server.bound]).toEqual(['r leave']);
  server.leave('r', bob);
  expect(heard).toEqual(['leave bob=1']);
  await presence.members.ready();
  server.enter('r', cy, 1);
  expect([...presence.members.keys()]).toEqual([cy]);
});

test('who listens is told everyone first, also where the application has asked for the list before', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  await presence.subscribe(() => {});
  await presence.get();
  const changes: string[] = [];
  presence.members.onChange((change) => changes.push(short(change)));
  await settled();
  expect(changes).toEqual(['+bob=1']);
});

test('ready() rejects with what the server said, and can be tried again; onChange() tells it as an error event', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const { relayBox } = await connected();
  const { members } = (await relayBox.join('r')).presence;
  const errors: unknown[] = [];
  relayBox.connection.on('error', ({ code }) => errors.push(code));
  server.refuse = ({ type }) => (type === 'room:presence:get' ? { err: { name: 'ForbiddenError', message: 'no', status: 403 } } : undefined);
  expect(await failure(members.ready())).toMatchObject({ code: 'forbidden' });
  expect(server.bound.size).toBe(0);
  members.onChange(() => {});
  await settled();
  expect(errors).toEqual(['forbidden']);
  server.refuse = () => undefined;
  expect((await members.ready()).size).toBe(1);
});

test('what a handler or the application does to its own objects does not change the map', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, { n: 1 });
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  await presence.subscribe<any>((event) => {
    event.data.n = 'changed';
  });
  const { members } = presence;
  await members.ready();
  const listed = await presence.get<any>();
  listed[0]!.data.n = 'changed';
  server.enter('r', cy, { n: 2 });
  expect([...members.values()].map(({ data }) => data)).toEqual([{ n: 1 }, { n: 2 }]);
});

test('it is empty and not live after the room was left', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const { relayBox } = await connected();
  const room = await relayBox.join('r');
  await room.presence.members.ready();
  await room.leave();
  expect([room.presence.members.size, room.presence.members.live]).toEqual([0, false]);
  expect(await failure(room.presence.members.ready())).toMatchObject({ code: 'not_in_room' });
});

test('it can be asked for before the room and the connection are there', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const relayBox = client();
  void relayBox.connect();
  const ready = relayBox.join('r').presence.members.ready();
  ScriptedSocket.last.hello();
  expect((await ready).size).toBe(1);
});

test.each([['kept', true], ['forgotten', false]])('after an outage, with subscriptions %s, map and handlers are told the difference, once', async (_, kept) => {
  const server = new PresenceServer();
  for (const id of [ana, bob, cy]) server.enter('r', id, 1);
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  await presence.members.ready();
  const [heard, changes]: [string[], string[]] = [[], []];
  await presence.subscribe((event) => heard.push(tell(event)));
  presence.members.onChange((change) => changes.push(short(change)));
  await settled();
  changes.length = 0;
  const unchanged = presence.members.get(cy);
  const live: boolean[] = [];
  relayBox.connection.on('disconnect', () => live.push(presence.members.live));
  const bound = new Set(server.bound);
  const socket = await reconnect(relayBox, () => {
    server.bound.clear(); // nobody hears it
    server.leave('r', ana);
    server.enter('r', bob, 2);
    server.enter('r', dan, 1);
    server.leave('r', dan);
    server.enter('r', dan, 2);
    if (kept) for (const one of bound) server.bound.add(one);
    else server.forget('all');
  });
  expect(live).toEqual([false]);
  expect(heard).toEqual(['update bob=2', 'join dan=2', 'leave ana=1']);
  expect(changes).toEqual(['+dan=2 ~bob=2 -ana']);
  expect([...presence.members.keys()]).toEqual([bob, cy, dan]);
  expect([presence.members.get(cy) === unchanged, presence.members.live]).toEqual([true, true]);
  // What is replayed late is known.
  socket.frame('app1:r:$:presence:leave', { event: 'leave', id: ana, connectionId: ana, clientId: 'ana', timestamp: 'x', revision: 104 });
  expect(heard).toHaveLength(3);
  server.leave('r', bob);
  expect(heard.at(-1)).toBe('leave bob=2');
});

test('what the server replays is told as it happened, and the list adds only what is missing', async () => {
  const server = new PresenceServer();
  for (const id of [ana, bob]) server.enter('r', id, 1);
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  await presence.members.ready();
  const heard: unknown[] = [];
  await presence.subscribe(({ event, clientId, data, revision, reason }) => heard.push([event, clientId, data, revision, reason]));
  const replay: object[] = [];
  ScriptedSocket.last.end();
  server.bound.clear();
  server.enter('r', bob, 2);
  server.enter('r', cy, 1);
  server.leave('r', cy, 'timeout');
  server.leave('r', ana, 'closed');
  void relayBox.connect();
  const socket = ScriptedSocket.last;
  socket.hello();
  for (const name of ['join', 'update', 'leave']) server.bound.add(`r ${name}`);
  const at = (fields: object): object => ({ timestamp: '2026-01-01T00:00:00.009Z', ...fields });
  replay.push(
    at({ event: 'update', id: bob, connectionId: bob, clientId: 'bob', data: 2, revision: 103 }),
    at({ event: 'join', id: cy, connectionId: cy, clientId: 'cy', data: 1, revision: 104 }),
    at({ event: 'leave', id: cy, connectionId: cy, clientId: 'cy', data: 1, revision: 105, reason: 'timeout' }),
  );
  for (const event of replay) socket.frame(`app1:r:$:presence:${(event as any).event}`, event);
  await settled();
  for (const event of replay) socket.frame(`app1:r:$:presence:${(event as any).event}`, event); // and once more
  expect(heard).toEqual([
    ['update', 'bob', 2, 103, undefined], ['join', 'cy', 1, 104, undefined], ['leave', 'cy', 1, 105, 'timeout'], ['leave', 'ana', 1, 106, 'unknown'],
  ]);
  expect([...presence.members.keys()]).toEqual([bob]);
});

test('a room that was found empty: its old life does not come back, its new one does', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  await presence.members.ready();
  const heard: string[] = [];
  await presence.subscribe((event) => heard.push(tell(event)));
  const [listed] = server.list('r');
  const socket = await reconnect(relayBox, () => {
    server.bound.clear();
    server.leave('r', bob);
  });
  expect(heard).toEqual(['leave bob=1']);
  socket.frame('app1:r:$:presence:update', { ...listed, event: 'update', revision: 102 });
  socket.frame('app1:r:$:presence:leave', { ...listed, event: 'leave', revision: 103 });
  expect(heard).toHaveLength(1);
  server.enter('r', bob, 2);
  expect(heard.slice(1)).toEqual(['join bob=2']);
  expect([...presence.members.keys()]).toEqual([bob]);
});

test('without a list, handlers are told what can be known: what is newer than what they heard last', async () => {
  const server = new PresenceServer();
  for (const id of [ana, bob, cy]) server.enter('r', id, 1);
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  const heard: string[] = [];
  await presence.subscribe((event) => heard.push(tell(event)));
  server.enter('r', ana, 2);
  heard.length = 0;
  const bound = new Set(server.bound);
  await reconnect(relayBox, () => {
    server.bound.clear();
    server.enter('r', bob, 3);
    server.enter('r', dan, 4);
    server.leave('r', cy);
    for (const one of bound) server.bound.add(one);
  });
  expect(heard).toEqual(['update bob=3', 'join dan=4']);
});

test('with a list that the application asked for, leaves that an outage hid are told, too', async () => {
  const server = new PresenceServer();
  for (const id of [ana, bob]) server.enter('r', id, 1);
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  const heard: string[] = [];
  await presence.subscribe((event) => heard.push(tell(event)));
  await presence.get();
  await reconnect(relayBox, () => {
    server.bound.clear();
    server.leave('r', bob);
  });
  expect(heard).toEqual(['leave bob=1']);
});

test('a handler of joins alone, that has heard nothing, is told nothing of those who were there', async () => {
  const server = new PresenceServer();
  server.enter('r', bob, 1);
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  const heard: string[] = [];
  await presence.subscribe('join', (event) => heard.push(tell(event)));
  await reconnect(relayBox, () => {});
  expect(heard).toEqual([]);
  server.enter('r', cy, 1);
  await reconnect(relayBox, () => {
    server.bound.clear();
    server.enter('r', dan, 1);
    server.bound.add('r join');
  });
  expect(heard).toEqual(['join cy=1', 'join dan=1']);
});

test('events that share a revision are different events; the same one twice is one', async () => {
  new PresenceServer();
  const { relayBox, socket } = await connected();
  const { presence } = await relayBox.join('r');
  const heard: string[] = [];
  await presence.subscribe((event) => heard.push(tell(event)));
  const event = (name: string, id: string, revision: number): void =>
    socket.frame(`app1:r:$:presence:${name}`, { event: name, id, connectionId: id, clientId: id.slice(5), timestamp: 'x', data: revision, revision });
  event('leave', bob, 9);
  event('leave', cy, 9);
  event('join', cy, 9);
  event('leave', cy, 9);
  event('join', dan, 8);
  event('join', dan, 10);
  event('join', dan, 10);
  expect(heard).toEqual(['leave bob=9', 'leave cy=9', 'join cy=9', 'join dan=10']);
});

test('a server without revisions is passed on as it is', async () => {
  ScriptedSocket.answer = usual;
  const { relayBox, socket } = await connected();
  const { presence } = await relayBox.join('r');
  const heard: unknown[] = [];
  await presence.subscribe('join', (event) => heard.push(event));
  socket.frame('app1:r:$:presence:join', { event: 'join', id: 'app1:bob' });
  socket.frame('app1:r:$:presence:join', { event: 'join', id: 'app1:bob' });
  expect(heard).toEqual([{ event: 'join', id: 'app1:bob' }, { event: 'join', id: 'app1:bob' }]);
});

test('five devices of one client: one leaves, the others stay', async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  await presence.members.ready();
  for (let n = 0; n < 5; n++) server.enter('r', `app1:d${n}`, n);
  server.leave('r', 'app1:d2');
  expect([...presence.members.values()].map(({ data }) => data)).toEqual([0, 1, 3, 4]);
});

test("this connection's own membership is in it, and stays over an outage that kept it", async () => {
  const server = new PresenceServer();
  const { relayBox } = await connected();
  const { presence } = await relayBox.join('r');
  await presence.join('me');
  await presence.members.ready();
  const heard: string[] = [];
  await presence.subscribe((event) => heard.push(tell(event)));
  await reconnect(relayBox, () => {});
  expect(heard).toEqual([]);
  await reconnect(relayBox, () => {
    server.forget('all');
  });
  expect(heard).toEqual(['leave 0123456789abcdef0123=me', 'join 0123456789abcdef0123=me']);
  expect(presence.members.get(own)?.data).toBe('me');
});
