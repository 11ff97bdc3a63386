// On real sockets, with a server that misbehaves.

import { afterEach, expect, test } from 'vitest';
import WebSocket from 'ws';
import { RelayBox, type RelayBoxOptions } from '../src/index';
import { FakeServer, usual } from './fake-server';
import { failure } from './scripted-socket';

const open: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

async function fake(): Promise<FakeServer> {
  const server = await FakeServer.start();
  open.push(() => server.stop());
  return server;
}

function client(server: FakeServer, options: Partial<RelayBoxOptions> = {}): RelayBox {
  const relayBox = new RelayBox({ apiKey: 'app1.key1:secret', clientId: 'ana', url: server.url, WebSocket, reconnect: { baseMs: 1, capMs: 5 }, ...options });
  open.unshift(() => relayBox.disconnect());
  return relayBox;
}

const event = (relayBox: RelayBox, name: 'reconnected' | 'disconnect' | 'error'): Promise<any> =>
  new Promise((resolve) => relayBox.connection.once(name, (...args: unknown[]) => resolve(args[0])));

test('disconnect() is a close frame without a code', async () => {
  const server = await fake();
  const relayBox = client(server);
  await relayBox.connect();
  const peer = await server.next();
  relayBox.disconnect();
  expect(await peer.closed).toBe(1005);
});

test('disconnect() before the socket has opened throws nowhere', async () => {
  const server = await fake();
  const relayBox = client(server);
  const connecting = failure(relayBox.connect());
  relayBox.disconnect();
  expect(await connecting).toMatchObject({ code: 'disconnected' });
  await relayBox.connect();
});

test.each([[400, 'invalid'], [401, 'unauthorized'], [403, 'forbidden'], [429, 'rate_limited'], [503, 'unavailable'], [500, 'connect_failed']])(
  'an upgrade refused with %i is `%s`',
  async (status, code) => {
    const server = await fake();
    server.status = status;
    expect(await failure(client(server).connect())).toMatchObject({ code, status });
  },
);

test('a server that says nothing is left after the deadline', async () => {
  const server = await fake();
  server.mute = true;
  const relayBox = client(server, { timeouts: { connectMs: 50 } });
  expect(await failure(relayBox.connect())).toMatchObject({ code: 'timeout' });
  expect(await (await server.next()).closed).toBe(1005);
});

test('a server that accepts and closes is a failed attempt', async () => {
  const server = await fake();
  server.refuseWith = 1013;
  expect(await failure(client(server).connect())).toMatchObject({ code: 'connect_failed', message: expect.stringContaining('1013') });
});

test('a request that is never answered ends at its deadline; the connection stays', async () => {
  const server = await fake();
  server.answer = () => null;
  const relayBox = client(server, { timeouts: { requestMs: 50 } });
  await relayBox.connect();
  expect(await failure(relayBox.create('myRoom'))).toMatchObject({ code: 'timeout', retry: true });
  expect(relayBox.connection.state).toBe('connected');
});

test('binary frames and nonsense harm nothing', async () => {
  const server = await fake();
  const relayBox = client(server);
  await relayBox.connect();
  const peer = await server.next();
  const told = event(relayBox, 'error');
  peer.raw(Buffer.from([0, 1, 2]));
  expect(await told).toMatchObject({ code: 'protocol' });
  expect(await relayBox.join('myRoom')).toMatchObject({ id: 'myRoom' });
});

test('events in one packet with the acknowledgement of the subscription are all delivered, in order', async () => {
  const server = await fake();
  server.answer = (request, peer) => {
    if (request.type !== 'room:presence:subscribe') return usual(request);
    peer.presence('myRoom', 'join', { revision: 1 });
    peer.acknowledge(request, { data: 'app1:myRoom:$:presence:join' });
    peer.presence('myRoom', 'join', { revision: 2 });
    return null;
  };
  const relayBox = client(server);
  await relayBox.connect();
  const revisions: number[] = [];
  await new Promise<void>((resolve) => {
    void relayBox.join('myRoom').presence.subscribe('join', ({ revision }) => {
      if (revisions.push(revision) === 2) resolve();
    });
  });
  expect(revisions).toEqual([1, 2]);
});

test('after each of many broken links everything is back in place, once', async () => {
  const server = await fake();
  const relayBox = client(server);
  await relayBox.connect();
  let peer = await server.next();
  const room = await relayBox.join('myRoom');
  await room.presence.join({ n: 0 });
  await room.presence.subscribe('leave', () => {});
  for (let n = 1; n <= 10; n++) {
    await room.presence.update({ n });
    const back = event(relayBox, 'reconnected');
    if (n % 2 === 0) peer.cut();
    else peer.close(1001, 'drain');
    await back;
    peer = await server.next();
    expect(peer.query.get('connectionId')).toBe(relayBox.connectionId);
    expect(peer.requests.map(({ type, body }) => [type, body['userData'] ?? body['event']])).toEqual([
      ['room:presence:subscribe', 'leave'], ['room:presence:get', undefined], ['room:presence:join', { n }],
    ]);
  }
  expect(server.clients).toHaveLength(11);
});
