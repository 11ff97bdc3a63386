import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { client, connected, failure, ScriptedSocket, settled, uncaught } from './scripted-socket';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const refusal = { name: 'ForbiddenError', message: 'no', status: 403, code: 'forbidden' };

describe('join()', () => {
  test('awaited, gives the room, which has no `then`', async () => {
    const { relayBox } = await connected();
    const room = await relayBox.join('myRoom');
    expect(room.id).toBe('myRoom');
    expect('then' in room).toBe(false);
    expect(await room).toBe(room);
  });

  test('not awaited, gives a room whose calls go out after the join, in their order', async () => {
    const { relayBox, socket } = await connected();
    const room = relayBox.join('myRoom');
    expect(room.id).toBe('myRoom');
    const calls = [
      room.presence.subscribe('join', () => {}),
      room.presence.join({ n: 1 }),
      room.subscribe('message', () => {}),
      room.publish('message', 2),
      room.presence.update({ n: 3 }),
      room.presence.get(),
      room.presence.getCount(),
      room.presence.unsubscribe('join'),
      room.unsubscribe('message'),
      room.presence.leave(),
      room.leave(),
    ];
    expect(socket.types).toEqual(['room:join']);
    await Promise.all(calls);
    expect(socket.types).toEqual([
      'room:join', 'room:presence:subscribe', 'room:presence:join', 'room:subscription:bind', 'publish', 'room:presence:update',
      'room:presence:get', 'room:presence:count', 'room:presence:unsubscribe', 'room:subscription:unbind', 'room:presence:leave', 'room:leave',
    ]);
  });

  test("the calls fail with the join's error when it is refused, and nothing of them is sent", async () => {
    const { relayBox, socket } = await connected();
    ScriptedSocket.answer = () => ({ err: refusal });
    const room = relayBox.join('myRoom');
    const failures = await Promise.all([failure(room), failure(room.presence.join()), failure(room.presence.subscribe(() => {})), failure(room.publish('a', 1)), failure(room.leave())]);
    expect(failures[0]).toMatchObject(refusal);
    for (const error of failures) expect(error).toBe(failures[0]);
    expect(await failure(room.presence.get())).toBe(failures[0]);
    expect(socket.types).toEqual(['room:join']);
  });

  test('a refused join can be tried again', async () => {
    const { relayBox } = await connected();
    ScriptedSocket.answer = () => ({ err: refusal });
    await failure(relayBox.join('myRoom'));
    ScriptedSocket.answer = () => ({ data: 'app1:myRoom' });
    expect((await relayBox.join('myRoom')).id).toBe('myRoom');
  });

  test('a refusal that no call and no await will be told is an `error` event', async () => {
    const { relayBox } = await connected();
    const errors: unknown[] = [];
    relayBox.connection.on('error', (error) => errors.push(error));
    ScriptedSocket.answer = () => ({ err: refusal });
    void relayBox.join('unwatched');
    await failure(relayBox.join('awaited'));
    await relayBox.join('caught').catch(() => {});
    await failure(relayBox.join('finally').finally(() => {}));
    await failure(relayBox.join('called').presence.join());
    expect(errors).toEqual([expect.objectContaining(refusal)]);
  });

  test('is a promise in full', async () => {
    const { relayBox } = await connected();
    let done = 0;
    expect(await relayBox.join('a').then((room) => room.id)).toBe('a');
    expect((await relayBox.join('a').finally(() => done++)).id).toBe('a');
    ScriptedSocket.answer = () => ({ err: refusal });
    expect(await relayBox.join('b').catch((error) => error.code)).toBe('forbidden');
    expect(await relayBox.join('b').then(() => 'no', (error) => error.code)).toBe('forbidden');
    expect(done).toBe(1);
  });

  test('again is the same room and asks nothing', async () => {
    const { relayBox, socket } = await connected();
    const [first, second] = await Promise.all([relayBox.join('myRoom'), relayBox.join('myRoom')]);
    expect(second).toBe(first);
    expect(await relayBox.join('myRoom')).toBe(first);
    expect(await relayBox.join('other')).not.toBe(first);
    expect(socket.types).toEqual(['room:join', 'room:join']);
  });

  test.each([
    ['an object', { uuid: 'u', nspRoomId: 'app1:myRoom', visibility: 'public' }],
    ['text', 'app1:myRoom'],
  ])('understands an acknowledgement that is %s', async (_, data) => {
    const { relayBox, socket } = await connected();
    ScriptedSocket.answer = () => ({ data });
    const room = await relayBox.join('myRoom');
    const heard: unknown[] = [];
    await room.subscribe('message', (message) => heard.push(message));
    socket.frame('app1:myRoom::message', { event: 'message', body: 1 });
    expect(heard).toEqual([{ event: 'message', body: 1 }]);
  });
});

test.each([[null], [undefined], [5], [{}]])('a join answered with %o is an error, not a room', async (data) => {
  const { relayBox } = await connected();
  ScriptedSocket.answer = () => ({ data });
  expect(await failure(relayBox.join('myRoom'))).toMatchObject({ name: 'ProtocolError', code: 'protocol' });
});

describe('leave()', () => {
  test('ends the room: nothing is delivered, calls say that it was left, taking back is fine', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    const heard: unknown[] = [];
    const undo = await room.subscribe((message) => heard.push(message));
    await room.presence.subscribe((event) => heard.push(event));
    await room.leave();
    expect(socket.types.at(-1)).toBe('room:leave');
    socket.frame('app1:myRoom::message', { event: 'message' });
    socket.frame('app1:myRoom:$:presence:join', { event: 'join' });
    expect(heard).toEqual([]);
    const before = socket.sent.length;
    for (const call of [() => room.presence.join(), () => room.subscribe('a', () => {}), () => room.publish('a', 1), () => room.presence.subscribe(() => {})]) {
      expect(await failure(call())).toMatchObject({ name: 'NotInRoomError', code: 'not_in_room', status: 409 });
    }
    await Promise.all([room.leave(), undo(), room.unsubscribe(), room.presence.unsubscribe(), room.presence.leave()]);
    expect(socket.sent).toHaveLength(before);
  });

  test('twice is one request', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    await Promise.all([room.leave(), room.leave()]);
    expect(socket.types).toEqual(['room:join', 'room:leave']);
  });

  test('then join() is a new room, sent after the leave is acknowledged', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    ScriptedSocket.answer = (request) => (request.type === 'room:leave' ? null : { data: 'app1:myRoom' });
    const leaving = room.leave();
    const again = relayBox.join('myRoom');
    const heard: unknown[] = [];
    const subscribed = again.subscribe('message', (message) => heard.push(message));
    await settled();
    expect(socket.types).toEqual(['room:join', 'room:leave']);
    socket.acknowledge(socket.sent.at(-1)!, { data: 'app1:myRoom' });
    await leaving;
    await subscribed;
    expect(socket.types).toEqual(['room:join', 'room:leave', 'room:join', 'room:subscription:bind']);
    expect(await again).not.toBe(room);
    socket.frame('app1:myRoom::message', { event: 'message' });
    expect(heard).toHaveLength(1);
  });

  test('refused, leaves the room as it was', async () => {
    const { relayBox } = await connected();
    const room = await relayBox.join('myRoom');
    ScriptedSocket.answer = () => ({ err: { name: 'UnavailableError', message: 'later', retry: true } });
    expect(await failure(room.leave())).toMatchObject({ code: 'unavailable', retry: true });
    ScriptedSocket.answer = () => ({ data: 3 });
    expect(await room.presence.getCount()).toBe(3);
    expect(await relayBox.join('myRoom')).toBe(room);
    await room.leave();
    expect(await failure(room.presence.getCount())).toMatchObject({ code: 'not_in_room' });
  });
});

describe('messages', () => {
  test('a handler of an event gets those, a handler without one gets all', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    const one: any[] = [];
    const every: any[] = [];
    await room.subscribe('message', (message) => one.push(message));
    await room.subscribe((message) => every.push(message));
    expect(socket.sent.slice(-2).map(({ body }) => body)).toEqual([
      { roomId: 'myRoom', event: 'message' },
      { roomId: 'myRoom', event: '$:subscribe:all' },
    ]);
    const message = { id: 'm1', event: 'message', body: { hello: 'universe' }, sender: { clientId: null, connectionId: null }, timestamp: 1 };
    socket.frame('app1:myRoom::message', message);
    socket.frame('app1:myRoom::$:subscribe:all', message);
    socket.frame('app1:other::message', message);
    expect(one).toEqual([message]);
    expect(every).toEqual([message]);
  });

  test('publish resolves with the message', async () => {
    const { relayBox, socket } = await connected();
    const message = await relayBox.join('myRoom').publish('message', { hello: 'universe' });
    expect(message).toMatchObject({ event: 'message', body: { hello: 'universe' } });
    expect(socket.sent.at(-1)).toMatchObject({ type: 'publish', body: { roomId: 'myRoom', event: 'message', data: { hello: 'universe' } } });
  });

  test('the first handler binds, the last one that goes unbinds, each undo takes back its own', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    const calls: string[] = [];
    const same = (): unknown => calls.push('same');
    const [first, second, third] = await Promise.all([
      room.subscribe('message', same), room.subscribe('message', same), room.subscribe('message', () => calls.push('third')),
    ]);
    const message = (): void => socket.frame('app1:myRoom::message', { event: 'message' });
    message();
    await first();
    await first();
    message();
    await Promise.all([second(), third()]);
    message();
    expect(calls).toEqual(['same', 'same', 'third', 'same', 'third']);
    expect(socket.types).toEqual(['room:join', 'room:subscription:bind', 'room:subscription:unbind']);
    await room.subscribe('message', same);
    message();
    expect(calls.at(-1)).toBe('same');
    expect(socket.types.at(-1)).toBe('room:subscription:bind');
  });

  test.each([
    ['unsubscribe()', [], ['unbind undefined'], []],
    ["unsubscribe('a')", ['a'], ['unbind a'], ['b:one', 'b:two']],
    ["unsubscribe('a', one)", ['a', 'one'], [], ['a:two', 'b:one', 'b:two']],
    ['unsubscribe(one)', ['one'], [], ['a:two', 'b:two']],
  ])('%s', async (_, args, requests, left) => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    const calls: string[] = [];
    const one = (message: any): unknown => calls.push(`${message.event}:one`);
    const two = (message: any): unknown => calls.push(`${message.event}:two`);
    await Promise.all([room.subscribe('a', one), room.subscribe('a', two), room.subscribe('b', one), room.subscribe('b', two)]);
    const before = socket.sent.length;
    await (room.unsubscribe as any)(...args.map((arg) => (arg === 'one' ? one : arg)));
    expect(socket.sent.slice(before).map(({ type, body }) => `${type.split(':').at(-1)} ${body['event']}`)).toEqual(requests);
    socket.frame('app1:myRoom::a', { event: 'a' });
    socket.frame('app1:myRoom::b', { event: 'b' });
    expect(calls).toEqual(left);
  });

  test('unsubscribe() of what was never subscribed asks nothing', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    await Promise.all([room.unsubscribe(), room.unsubscribe('a'), room.unsubscribe('a', () => {}), room.unsubscribe(() => {})]);
    expect(socket.types).toEqual(['room:join']);
  });

  test('a refused bind rejects all who waited for it and leaves no handler', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    ScriptedSocket.answer = () => ({ err: refusal });
    const heard: unknown[] = [];
    const both = [failure(room.subscribe('a', () => heard.push(1))), failure(room.subscribe('a', () => heard.push(2)))];
    for (const one of both) expect(await one).toMatchObject(refusal);
    socket.frame('app1:myRoom::a', { event: 'a' });
    expect(heard).toEqual([]);
    ScriptedSocket.answer = () => ({ data: 'app1:myRoom::a' });
    await room.subscribe('a', () => heard.push(3));
    expect(socket.types.filter((type) => type === 'room:subscription:bind')).toHaveLength(2);
  });

  test.each([[undefined], ['text'], [{}]])('a handler that is %o is refused', async (handler) => {
    const { relayBox } = await connected();
    const room = await relayBox.join('myRoom');
    expect(await failure(room.subscribe('a', handler as never))).toMatchObject({ code: 'invalid', field: 'handler' });
    expect(await failure(room.presence.subscribe('join', handler as never))).toMatchObject({ code: 'invalid', field: 'handler' });
  });

  test('a handler taken back by another one during an event is not called', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    const heard: string[] = [];
    await room.subscribe('a', () => {
      heard.push('first');
      void room.unsubscribe();
    });
    await room.subscribe('a', () => heard.push('second'));
    socket.frame('app1:myRoom::a', { event: 'a' });
    expect(heard).toEqual(['first']);
  });

  test('a handler that throws does not keep the event from others, and is reported', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    const reported = uncaught();
    const heard: unknown[] = [];
    await room.subscribe('a', () => {
      throw new Error('mine');
    });
    await room.subscribe('a', (message) => heard.push(message));
    socket.frame('app1:myRoom::a', { event: 'a' });
    expect(heard).toHaveLength(1);
    expect(await reported).toMatchObject({ message: 'mine' });
  });
});

describe('create()', () => {
  test('resolves with what the server made, and joins nothing', async () => {
    const { relayBox, socket } = await connected();
    expect(await relayBox.create('myRoom', { visibility: 'public' })).toEqual({ id: 'myRoom', uuid: 'u', visibility: 'public' });
    expect(await relayBox.create('myRoom')).toMatchObject({ id: 'myRoom' });
    expect(socket.sent.map(({ body }) => body)).toEqual([{ roomId: 'myRoom', visibility: 'public' }, { roomId: 'myRoom' }]);
  });
});

test('rooms of a client that never connected are refused and forgotten', async () => {
  const relayBox = client();
  const error = await failure(relayBox.join('myRoom').presence.join());
  expect(error).toMatchObject({ code: 'disconnected' });
});
