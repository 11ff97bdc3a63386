import { describe, expect, inject, test } from 'vitest';
import WebSocket from 'ws';
import { RelayBox } from '@relaybox/client';
import { connect, failure, freshRoom, Heard } from './clients';

describe('messages between two nodes', () => {
  test('reach who subscribes to the event, and who subscribes to all, the sender too; publish resolves with the same', async () => {
    const id = freshRoom();
    const [sender, reader] = [await connect(1, { clientId: 123 }), await connect(2)];
    const [here, there] = [await sender.join(id), await reader.join(id)];
    const [own, one, every, other] = [new Heard<any>(), new Heard<any>(), new Heard<any>(), new Heard<any>()];
    await here.subscribe('message', own.push);
    await there.subscribe('message', one.push);
    await there.subscribe('other', other.push);
    await there.subscribe(every.push);
    const published = await here.publish('message', { hello: 'universe' });
    expect(published).toStrictEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      event: 'message',
      body: { hello: 'universe' },
      sender: { clientId: '123', connectionId: sender.connectionId },
      timestamp: expect.any(Number),
    });
    for (const heard of [own, one, every]) expect(await heard.first(1)).toStrictEqual([published]);
    const second = await here.publish('other', 0);
    expect(await every.first(2)).toStrictEqual([published, second]);
    expect(await other.first(1)).toStrictEqual([second]);
    expect([...own.all, ...one.all]).toStrictEqual([published, published]);
  });

  test('publish needs no clientId; its sender has none', async () => {
    const id = freshRoom();
    const room = await (await connect(1)).join(id);
    expect(await room.publish('message', [])).toMatchObject({ body: [], sender: { clientId: null } });
  });

  test('after unsubscribe nothing comes; the other handlers stay', async () => {
    const id = freshRoom();
    const [here, there] = [await (await connect(1)).join(id), await (await connect(2)).join(id)];
    const [a, b, last] = [new Heard<any>(), new Heard<any>(), new Heard<any>()];
    const undo = await there.subscribe('a', a.push);
    await there.subscribe('b', b.push);
    await there.subscribe('last', last.push);
    await undo();
    await there.unsubscribe('b', b.push);
    for (const event of ['a', 'b', 'last']) await here.publish(event, event);
    await last.first(1);
    await there.unsubscribe();
    const again = new Heard<any>();
    await there.subscribe('again', again.push);
    for (const event of ['last', 'again']) await here.publish(event, event);
    await again.first(1);
    expect([a.all, b.all, last.all.length, again.all.length]).toEqual([[], [], 1, 1]);
  });

  test('odd event names are kept apart', async () => {
    const id = freshRoom();
    const [here, there] = [await (await connect(1)).join(id), await (await connect(2)).join(id)];
    const names = ['a:b', 'a::b', ':', ' ', 'é', '😀', '"', 'x'.repeat(255)];
    for (const name of names) {
      const heard = new Heard<any>();
      await there.subscribe(name, heard.push);
      await here.publish(name, name);
      expect((await heard.first(1)).map(({ body }) => body)).toEqual([name]);
    }
  });
});

describe('rooms', () => {
  test('create() says what the room is, the same each time, and joins nothing', async () => {
    const id = freshRoom();
    const relayBox = await connect(1, { clientId: 'ana' });
    const created = await relayBox.create(id, { visibility: 'public' });
    expect(created).toStrictEqual({ id, uuid: expect.any(String), visibility: 'public' });
    expect(await (await connect(2)).create(id)).toStrictEqual(created);
    expect(await failure(relayBox.create(id, { visibility: 'private' }))).toMatchObject({ name: 'NotSupportedError', code: 'not_supported', status: 501 });
  });

  test('leave(), then join() again, without waiting', async () => {
    const id = freshRoom();
    const relayBox = await connect(1, { clientId: 'ana' });
    const watcher = await (await connect(2)).join(id);
    const heard = new Heard<any>();
    await watcher.presence.subscribe(heard.push);
    const first = relayBox.join(id);
    void first.presence.join(1);
    void first.leave();
    const second = relayBox.join(id);
    await second.presence.join(2);
    expect((await heard.first(3)).map(({ event, data, reason }) => [event, data, reason])).toEqual([
      ['join', 1, undefined], ['leave', 1, 'room_left'], ['join', 2, undefined],
    ]);
  });

  test('rooms of one connection do not touch each other', async () => {
    const [a, b] = [freshRoom(), freshRoom()];
    const relayBox = await connect(1, { clientId: 'ana' });
    await relayBox.join(a).presence.join('in a');
    await relayBox.join(b).presence.join('in b');
    await relayBox.join(a).leave();
    const members = await relayBox.join(b).presence.get();
    expect(members.map(({ data }) => data)).toEqual(['in b']);
  });

  test('both acknowledgements of a join are understood: /core and /core/v1', async () => {
    const id = freshRoom();
    const [url] = inject('stack').urls;
    for (const path of [url, `${url}/v1`]) {
      const heard = new Heard<any>();
      const room = await (await connect(1, { url: path })).join(id);
      await room.subscribe('message', heard.push);
      await room.publish('message', path);
      expect(await heard.first(1)).toMatchObject([{ body: path }]);
    }
  });
});

describe('what is refused says why', () => {
  const cases: [what: string, call: (relayBox: RelayBox, id: string) => PromiseLike<unknown>, error: object][] = [
    ['a room name with a space', (r) => r.join('my room'), { name: 'ValidationError', code: 'invalid', status: 400, field: 'roomId' }],
    ['an empty room name', (r) => r.join(''), { name: 'ValidationError', code: 'invalid', field: 'roomId' }],
    ['a room name of 256 bytes', (r) => r.join('x'.repeat(256)), { name: 'ValidationError', code: 'invalid', field: 'roomId', limit: 255 }],
    ['a room name that is no text', (r) => r.join(5 as never), { name: 'ValidationError', code: 'invalid', field: 'roomId' }],
    ['an event name that begins with $', (r, id) => r.join(id).subscribe('$:presence:join', () => {}), { name: 'ValidationError', code: 'invalid', field: 'event' }],
    ['an unknown presence event', (r, id) => r.join(id).presence.subscribe('enter' as never, () => {}), { name: 'ValidationError', code: 'invalid', field: 'event' }],
    ['presence data over 16 KiB', (r, id) => r.join(id).presence.join('x'.repeat(16_384)), { name: 'PayloadTooLargeError', code: 'too_large', status: 413, limit: 16_384 }],
    ['a message over 64 KiB', (r, id) => r.join(id).publish('a', 'x'.repeat(70_000)), { name: 'PayloadTooLargeError', code: 'too_large', status: 413 }],
    ['publish without data', (r, id) => r.join(id).publish('a', undefined as never), { name: 'ValidationError', code: 'invalid' }],
    ['data nested 40 deep', (r, id) => r.join(id).presence.join(JSON.parse('['.repeat(40) + ']'.repeat(40))), { name: 'ValidationError', code: 'invalid' }],
    ['a lone surrogate', (r, id) => r.join(id).presence.join('\ud800'), { name: 'ValidationError', code: 'invalid' }],
    ['an update by one who is not a member', (r, id) => r.join(id).presence.update(1), { name: 'NotMemberError', code: 'not_member', status: 409 }],
  ];

  test.each(cases)('%s', async (_, call, error) => {
    const relayBox = await connect(1, { clientId: 'ana' });
    const id = freshRoom();
    const refused = await failure(call(relayBox, id));
    expect(refused).toMatchObject(error);
    expect(refused.message).toBeTruthy();
    expect(refused.retry).toBe(false);
    // Nothing is broken by it.
    await relayBox.join(id).presence.join();
    expect(await relayBox.join(id).presence.getCount()).toBe(1);
  });

  test.each(['join', 'update'] as const)('presence.%s without a clientId', async (call) => {
    const room = await (await connect(1)).join(freshRoom());
    const error = await failure(room.presence[call]('data'));
    expect(error).toMatchObject({ name: 'NoClientIdError', code: 'no_client_id', status: 400, retry: false });
    expect(error.message).toMatch(/clientId/);
    expect(await room.presence.getCount()).toBe(0);
  });

  test('presence with a key that may not', async () => {
    const relayBox = await connect(1, { clientId: 'ana', apiKey: inject('stack').noPresenceKey });
    const room = await relayBox.join(freshRoom());
    for (const call of [() => room.presence.join(), () => room.presence.get(), () => room.presence.getCount(), () => room.presence.subscribe(() => {})]) {
      expect(await failure(call())).toMatchObject({ name: 'ForbiddenError', code: 'forbidden', status: 403, retry: false });
    }
    await room.publish('message', 'this it may');
  });

  test('a frame over the limit: the connection ends, the call says why, and the client comes back', async () => {
    const relayBox = await connect(1, { clientId: 'ana', reconnect: { baseMs: 1 } });
    const room = await relayBox.join(freshRoom());
    await room.presence.join('still here');
    const back = new Promise((resolve) => relayBox.connection.once('reconnected', resolve));
    const error = await failure(room.publish('message', 'x'.repeat(300_000)));
    expect(error).toMatchObject({ name: 'PayloadTooLargeError', code: 'too_large', status: 413, retry: false });
    await back;
    expect((await room.presence.get()).map(({ data }) => data)).toEqual(['still here']);
  });

  test.each([
    ['a wrong secret', 'sdktests.full:wrong'],
    ['an unknown key', 'sdktests.nobody:onlyfortests000000000000'],
    ['a malformed key', 'nonsense'],
  ])('%s', async (_, apiKey) => {
    const relayBox = new RelayBox({ url: inject('stack').urls[0], apiKey, WebSocket });
    const error = await failure(relayBox.connect());
    expect(error).toMatchObject({ name: 'UnauthorizedError', code: 'unauthorized', status: 401, retry: false });
    expect(error.message).not.toContain(apiKey);
  });

  test('an address where nobody listens', async () => {
    const relayBox = new RelayBox({ url: 'ws://127.0.0.1:1/core', apiKey: 'a.b:c', WebSocket });
    expect(await failure(relayBox.connect())).toMatchObject({ name: 'ConnectError', code: 'connect_failed', retry: true });
  });
});
