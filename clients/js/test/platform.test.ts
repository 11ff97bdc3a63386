// What a browser says of the network and of the page, and a socket that no longer answers.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RelayBox } from '../src/index';
import { usual } from './fake-server';
import { connected, ScriptedSocket, settled } from './scripted-socket';

/** A window and its document, as far as they are used; counts the listeners. */
class Target extends EventTarget {
  listeners = 0;
  override addEventListener(...args: Parameters<EventTarget['addEventListener']>): void {
    this.listeners++;
    super.addEventListener(...args);
  }
  override removeEventListener(...args: Parameters<EventTarget['removeEventListener']>): void {
    this.listeners--;
    super.removeEventListener(...args);
  }
}

let page: Target & { visibilityState?: string };
let world: Target;
let network: { onLine: boolean };

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(1);
  [page, world, network] = [new Target(), new Target(), { onLine: true }];
  page.visibilityState = 'visible';
  vi.stubGlobal('document', page);
  vi.stubGlobal('navigator', network);
  vi.stubGlobal('addEventListener', world.addEventListener.bind(world));
  vi.stubGlobal('removeEventListener', world.removeEventListener.bind(world));
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.mocked(Math.random).mockRestore();
  vi.useRealTimers();
});

const say = (name: string, fields: object = {}): unknown =>
  (name === 'visibilitychange' || name === 'resume' ? page : world).dispatchEvent(Object.assign(new Event(name), fields));

const offline = (): void => {
  network.onLine = false;
  say('offline');
};
const online = (): void => {
  network.onLine = true;
  say('online');
};

const record = (relayBox: RelayBox): unknown[] => {
  const log: unknown[] = [];
  for (const name of ['connecting', 'connect', 'disconnect', 'reconnecting', 'reconnected', 'offline', 'suspended'] as const) relayBox.connection.on(name, () => log.push(name));
  return log;
};

test('offline: no attempts; online: one at once', async () => {
  const { relayBox, socket } = await connected();
  const log = record(relayBox);
  socket.end();
  offline();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ScriptedSocket.all).toHaveLength(1);
  expect(log).toEqual(['disconnect', 'reconnecting', 'offline', 'suspended']);
  online();
  expect(ScriptedSocket.all).toHaveLength(2);
  ScriptedSocket.last.hello();
  await settled();
  expect(log.slice(4)).toEqual(['connecting', 'connect', 'reconnected']);
  relayBox.disconnect();
});

test('a socket that is lost while offline is not asked for again before online, or connect()', async () => {
  const { relayBox, socket } = await connected();
  offline();
  expect(socket.types).toEqual(['auth:user:unsubscribe']); // it may live: a node on this machine does
  await settled();
  const log = record(relayBox);
  socket.end();
  expect(log).toEqual(['disconnect', 'offline']);
  say('visibilitychange');
  expect(ScriptedSocket.all).toHaveLength(1);
  relayBox.connect().catch(() => {});
  expect(ScriptedSocket.all).toHaveLength(2);
  relayBox.disconnect();
});

test.each([['visibilitychange', {}], ['online', {}], ['resume', {}], ['pageshow', { persisted: true }]])(
  '%s: a socket that answers is kept, one that does not is replaced at once',
  async (name, fields) => {
    const { relayBox, socket } = await connected();
    const log = record(relayBox);
    say(name, fields);
    expect(socket.types).toEqual(['auth:user:unsubscribe']);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(log).toEqual([]);
    ScriptedSocket.answer = () => null;
    say(name, fields);
    say(name, fields);
    expect(socket.types).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(2_999);
    expect(log).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(log).toEqual(['disconnect', 'reconnecting', 'connecting']);
    // Not a goodbye: the membership must live until the next socket has it.
    expect(socket.closedWith).toEqual([4_000]);
    expect(socket.listeners).toBe(0);
    relayBox.disconnect();
    expect(vi.getTimerCount()).toBe(0);
  },
);

test('any frame shows that the socket lives', async () => {
  const { relayBox, socket } = await connected();
  ScriptedSocket.answer = () => null;
  say('visibilitychange');
  socket.frame('anything', {});
  await vi.advanceTimersByTimeAsync(10_000);
  expect(ScriptedSocket.all).toHaveLength(1);
  relayBox.disconnect();
});

test('a page that is hidden, or shown for the first time, needs nothing', async () => {
  const { relayBox, socket } = await connected();
  page.visibilityState = 'hidden';
  say('visibilitychange');
  say('pageshow', { persisted: false });
  expect(socket.sent).toEqual([]);
  relayBox.disconnect();
});

test('back from the back-forward cache the delay is not waited for', async () => {
  const { relayBox, socket } = await connected();
  socket.end(1001);
  say('pageshow', { persisted: true });
  expect(ScriptedSocket.all).toHaveLength(2);
  relayBox.disconnect();
});

test('an attempt that hangs on a network that is no more is given up, a fresh one is not', async () => {
  const { relayBox, socket } = await connected();
  socket.end();
  relayBox.connect().catch(() => {});
  const hanging = ScriptedSocket.last;
  online();
  expect(ScriptedSocket.last).toBe(hanging);
  await vi.advanceTimersByTimeAsync(1_000);
  online();
  expect(hanging.closedWith).toEqual([4_000]);
  expect(ScriptedSocket.all).toHaveLength(3);
  relayBox.disconnect();
});

test('a request without an answer has the socket looked at', async () => {
  const { relayBox, socket } = await connected();
  ScriptedSocket.answer = () => null;
  relayBox.create('r').catch(() => {});
  await vi.advanceTimersByTimeAsync(10_000);
  expect(socket.types).toEqual(['room:create', 'auth:user:unsubscribe']);
  await vi.advanceTimersByTimeAsync(3_000);
  expect(relayBox.connection.state).toBe('reconnecting');
  relayBox.disconnect();
});

test('disconnect() keeps no listener and no timer', async () => {
  const { relayBox } = await connected();
  expect([world.listeners, page.listeners]).toEqual([3, 2]);
  ScriptedSocket.answer = usual;
  say('visibilitychange');
  relayBox.disconnect();
  expect([world.listeners, page.listeners, vi.getTimerCount()]).toEqual([0, 0, 0]);
});

test('a connection that never was keeps none either', async () => {
  const { client, failure } = await import('./scripted-socket');
  const relayBox = client();
  const connecting = failure(relayBox.connect());
  ScriptedSocket.last.end();
  await connecting;
  expect([world.listeners, page.listeners]).toEqual([0, 0]);
});
