import { expect, test } from 'vitest';
import { connected, failure, ScriptedSocket } from './scripted-socket';

const event = (name: string, fields: object = {}): object => ({
  event: name, timestamp: '2024-07-13T10:13:28.496Z', id: 'app1:x', clientId: 'x', connectionId: 'app1:x', revision: 8, ...fields,
});

test('each call sends the request of the protocol', async () => {
  const { relayBox, socket } = await connected();
  const { presence } = await relayBox.join('myRoom');
  await presence.join();
  await presence.join({ username: 'Bob' });
  await presence.update(null);
  await presence.update(0);
  await presence.leave();
  await presence.leave({ bye: true });
  await presence.get();
  await presence.get({ limit: 5 });
  await presence.getCount();
  expect(socket.sent.slice(1).map(({ type, body }) => [type.replace('room:presence:', ''), body])).toEqual([
    ['join', { roomId: 'myRoom' }],
    ['join', { roomId: 'myRoom', userData: { username: 'Bob' } }],
    ['update', { roomId: 'myRoom', userData: null }],
    ['update', { roomId: 'myRoom', userData: 0 }],
    ['leave', { roomId: 'myRoom' }],
    ['leave', { roomId: 'myRoom', userData: { bye: true } }],
    ['get', { roomId: 'myRoom' }],
    ['get', { roomId: 'myRoom', limit: 5 }],
    ['count', { roomId: 'myRoom' }],
  ]);
});

test('get() is an array with the revision at which it is true', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  const member = { ...event('join'), data: { username: 'Bob' } };
  ScriptedSocket.answer = () => ({ data: [member], revision: 1_764_000_000_000_007 });
  const members = await room.presence.get();
  expect(Array.isArray(members)).toBe(true);
  expect(members.revision).toBe(1_764_000_000_000_007);
  expect([...members]).toEqual([member]);
  expect(Object.keys(members)).toEqual(['0']);
  expect(JSON.stringify(members)).toBe(JSON.stringify([member]));
});

test('get() and getCount() of an empty room', async () => {
  const { relayBox } = await connected();
  const room = await relayBox.join('myRoom');
  ScriptedSocket.answer = ({ type }) => ({ data: type.endsWith('get') ? [] : 0, revision: 0 });
  const members = await room.presence.get();
  expect(members).toHaveLength(0);
  expect(members.revision).toBe(0);
  expect(await room.presence.getCount()).toBe(0);
});

test('subscribe(event, fn) and subscribe(fn): the handler gets the event as it came', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  const joins: unknown[] = [];
  const every: unknown[] = [];
  await room.presence.subscribe('join', (data) => joins.push(data));
  await room.presence.subscribe((data) => every.push(data));
  expect(socket.sent.slice(1).map(({ type, body }) => [type, body['event']])).toEqual([
    ['room:presence:subscribe', 'join'], ['room:presence:subscribe', 'update'], ['room:presence:subscribe', 'leave'],
  ]);
  const sent = [event('join', { data: { username: 'Bob' } }), event('update', { data: [] }), event('leave', { reason: 'left' })];
  for (const one of sent) socket.frame(`app1:myRoom:$:presence:${(one as any).event}`, one);
  expect(joins).toEqual([sent[0]]);
  expect(every).toEqual(sent);
});

test('an event that comes before the acknowledgement of its subscription is delivered', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  ScriptedSocket.answer = () => null;
  const heard: unknown[] = [];
  const subscribing = room.presence.subscribe('join', (data) => heard.push(data.revision));
  socket.frame('app1:myRoom:$:presence:join', event('join', { revision: 5 }));
  socket.acknowledge(socket.sent.at(-1)!, { data: 'app1:myRoom:$:presence:join' });
  socket.frame('app1:myRoom:$:presence:join', event('join', { revision: 6 }));
  await subscribing;
  expect(heard).toEqual([5, 6]);
});

test('each handler has its own event: what one changes, no other sees', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  const seen: unknown[] = [];
  for (let handler = 0; handler < 3; handler++) {
    await room.presence.subscribe<any>('update', (data) => {
      seen.push(structuredClone(data));
      data.data.list.push('changed');
      delete data.data.deep.er;
      data.id = 'changed';
    });
  }
  const sent = event('update', { data: { list: [1], deep: { er: { est: true } }, ['__proto__']: null } });
  const text = JSON.stringify(sent).replace('"deep"', '"__proto__":{"polluted":1},"deep"');
  socket.onmessage?.({ data: `{"type":"app1:myRoom:$:presence:update","body":${text}}` });
  expect(seen).toHaveLength(3);
  for (const one of seen) expect(JSON.stringify(one)).toBe(JSON.stringify(JSON.parse(text)));
  expect(({} as any).polluted).toBeUndefined();
});

test('a room id and an event name that read the same as another room keep apart', async () => {
  const { relayBox, socket } = await connected();
  const outer = await relayBox.join('a');
  const inner = await relayBox.join('a::b');
  const messages: unknown[] = [];
  const joins: unknown[] = [];
  await outer.subscribe('b:$:presence:join', (message) => messages.push(message));
  await inner.presence.subscribe('join', (data) => joins.push(data));
  socket.frame('app1:a::b:$:presence:join', event('join'));
  socket.frame('app1:a::b:$:presence:join', { id: 'm1', event: 'b:$:presence:join', body: 1 });
  expect(joins).toEqual([event('join')]);
  expect(messages).toEqual([{ id: 'm1', event: 'b:$:presence:join', body: 1 }]);
});

test('subscribe(fn) that is refused for one event takes the others back and rejects', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  const refusal = { name: 'LimitError', message: 'no', status: 409 };
  ScriptedSocket.answer = ({ body }) => (body['event'] === 'leave' ? { err: refusal } : { data: 'ok' });
  const heard: unknown[] = [];
  expect(await failure(room.presence.subscribe((data) => heard.push(data)))).toMatchObject({ name: 'LimitError', code: 'limit' });
  expect(socket.sent.slice(-2).map(({ type, body }) => [type, body['event']])).toEqual([
    ['room:presence:unsubscribe', 'join'], ['room:presence:unsubscribe', 'update'],
  ]);
  socket.frame('app1:myRoom:$:presence:join', event('join'));
  expect(heard).toEqual([]);
});

test.each([
  ['unsubscribe()', [], ['unsubscribe:all undefined'], []],
  ["unsubscribe('join')", ['join'], ['unsubscribe join'], ['leave:one', 'leave:two']],
  ["unsubscribe('join', one)", ['join', 'one'], [], ['join:two', 'leave:one', 'leave:two']],
  ['unsubscribe(one)', ['one'], [], ['join:two', 'leave:two']],
])('%s', async (_, args, requests, left) => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  const calls: string[] = [];
  const one = (data: any): unknown => calls.push(`${data.event}:one`);
  const two = (data: any): unknown => calls.push(`${data.event}:two`);
  await Promise.all([
    room.presence.subscribe('join', one), room.presence.subscribe('join', two), room.presence.subscribe('leave', one), room.presence.subscribe('leave', two),
  ]);
  const before = socket.sent.length;
  await (room.presence.unsubscribe as any)(...args.map((arg) => (arg === 'one' ? one : arg)));
  expect(socket.sent.slice(before).map(({ type, body }) => `${type.replace('room:presence:', '')} ${body['event']}`)).toEqual(requests);
  socket.frame('app1:myRoom:$:presence:join', event('join'));
  socket.frame('app1:myRoom:$:presence:leave', event('leave'));
  expect(calls).toEqual(left);
});

test('the undo of subscribe(fn) takes back all three', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  const undo = await room.presence.subscribe(() => {});
  await undo();
  await undo();
  expect(socket.sent.slice(-3).map(({ type, body }) => [type, body['event']])).toEqual([
    ['room:presence:unsubscribe', 'join'], ['room:presence:unsubscribe', 'update'], ['room:presence:unsubscribe', 'leave'],
  ]);
});

test('subscribe, unsubscribe and subscribe again go out in that order without waiting for each other', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  const heard: unknown[] = [];
  await Promise.all([
    room.presence.subscribe('join', () => heard.push('old')),
    room.presence.unsubscribe('join'),
    room.presence.subscribe('join', () => heard.push('new')),
    room.presence.join(),
  ]);
  expect(socket.types.slice(1)).toEqual(['room:presence:subscribe', 'room:presence:unsubscribe', 'room:presence:subscribe', 'room:presence:join']);
  socket.frame('app1:myRoom:$:presence:join', event('join'));
  expect(heard).toEqual(['new']);
});

test('unsubscribing without a connection succeeds once nobody waits for it any more: nothing will be delivered', async () => {
  const { relayBox, socket } = await connected({ reconnect: { baseMs: 60_000, capMs: 60_000 }, timeouts: { requestMs: 20 } });
  const room = await relayBox.join('myRoom');
  const undo = await room.presence.subscribe('join', () => {});
  socket.end();
  await Promise.all([undo(), room.presence.unsubscribe(), room.unsubscribe()]);
  relayBox.disconnect();
});
