import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { RelayBox, RelayBoxError } from '../src/index';
import { record, words } from './record';
import { client, connected, failure, ScriptedSocket, uncaught } from './scripted-socket';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('options', () => {
  const address = (options: object): string => {
    void client({ url: undefined, ...options }).connect();
    return ScriptedSocket.last.url;
  };

  test('the default address is ws://localhost:9000/core, with the key and the client in the query', () => {
    expect(address({})).toBe('ws://localhost:9000/core?apiKey=app1.key1%3Asecret&clientId=ana&features=resume');
  });

  test.each([
    [{ clientId: 123 }, 'clientId=123'],
    [{ clientId: 0 }, 'clientId=0'],
    [{ clientId: 'a b&c=d+e/é' }, 'clientId=a+b%26c%3Dd%2Be%2F%C3%A9'],
  ])('%o is sent as %s', (options, query) => {
    expect(address(options)).toContain(query);
  });

  test.each([[undefined], [null], ['']])('clientId %o is none', (clientId) => {
    expect(address({ clientId })).toBe('ws://localhost:9000/core?apiKey=app1.key1%3Asecret&features=resume');
  });

  test.each([
    [{ offline: { enabled: true } }, 'ws://localhost:9000/core?'],
    [{ offline: { enabled: true, port: 9001 } }, 'ws://localhost:9001/core?'],
    [{ offline: { coreServiceUrl: 'wss://presence.example/core/v1' } }, 'wss://presence.example/core/v1?'],
    [{ url: 'ws://127.0.0.1:9002/core', offline: { port: 9001 } }, 'ws://127.0.0.1:9002/core?'],
    [{ url: 'https://presence.example/core' }, 'wss://presence.example/core?'],
    [{ url: 'ws://presence.example/core?region=eu' }, 'ws://presence.example/core?region=eu&apiKey='],
  ])('%o connects to %s', (options, start) => {
    expect(address(options)).toContain(start);
  });

  test.each([
    [{ apiKey: '' }, 'apiKey'],
    [{ apiKey: undefined }, 'apiKey'],
    [{ clientId: Number.NaN }, 'clientId'],
    [{ clientId: {} }, 'clientId'],
    [{ url: 'localhost:9000/core' }, 'url'],
    [{ url: '/core' }, 'url'],
  ])('%o is refused at once, naming the field %s', (options, field) => {
    const make = (): RelayBox => client(options as object);
    expect(make).toThrow(RelayBoxError);
    expect(make).toThrow(expect.objectContaining({ name: 'ValidationError', code: 'invalid', field }));
    expect(ScriptedSocket.all).toEqual([]);
  });

  test('a platform without WebSocket is told to pass one', () => {
    vi.stubGlobal('WebSocket', undefined);
    expect(() => new RelayBox({ apiKey: 'a.b:c' })).toThrow(/option WebSocket/);
    vi.unstubAllGlobals();
  });

  test("the platform's WebSocket is taken when none is passed", () => {
    vi.stubGlobal('WebSocket', ScriptedSocket);
    void new RelayBox({ apiKey: 'a.b:c' }).connect();
    expect(ScriptedSocket.last.url).toBe('ws://localhost:9000/core?apiKey=a.b%3Ac&features=resume');
    vi.unstubAllGlobals();
  });
});

describe('connect()', () => {
  test("waits for the server's first frame and resolves with what it says", async () => {
    const relayBox = client({ clientId: 123 });
    const log = record(relayBox);
    const connecting = relayBox.connect();
    const socket = ScriptedSocket.last;
    socket.onopen?.({});
    await Promise.resolve();
    expect(relayBox.connection.state).toBe('connecting');
    expect(relayBox.connectionId).toBeUndefined();
    socket.hello({ clientId: '123' });
    const info = { connectionId: 'app1:0123456789abcdef0123', clientId: '123', node: 'f1', graceMs: 10_000 };
    expect(await connecting).toEqual(info);
    expect(log).toEqual([['connecting'], ['connect', info]]);
    const { connectionId, clientId, node, graceMs, connection } = relayBox;
    expect({ connectionId, clientId, node, graceMs }).toEqual(info);
    expect(connection).toMatchObject({ state: 'connected', id: connectionId, clientId, node, graceMs });
    relayBox.disconnect();
  });

  test('twice is one socket and the same answer', async () => {
    const relayBox = client();
    const both = [relayBox.connect(), relayBox.connect()];
    ScriptedSocket.last.hello();
    const [first, second] = await Promise.all(both);
    expect(second).toEqual(first);
    expect(await relayBox.connect()).toEqual(first);
    expect(ScriptedSocket.all).toHaveLength(1);
  });

  test('a public server without node, grace and client is understood', async () => {
    const relayBox = client();
    const connecting = relayBox.connect();
    ScriptedSocket.last.hello({ clientId: undefined, node: undefined, graceMs: undefined });
    expect(await connecting).toEqual({ connectionId: 'app1:0123456789abcdef0123', clientId: undefined, node: undefined, graceMs: undefined });
  });

  test('rejects when the socket closes before the first frame, and does not go on trying', async () => {
    const relayBox = client();
    const log = record(relayBox);
    const connecting = failure(relayBox.connect());
    ScriptedSocket.last.end();
    expect(await connecting).toMatchObject({ name: 'ConnectError', code: 'connect_failed', retry: true });
    expect(words(log)).toEqual(['connecting', 'error']);
    expect(relayBox.connection.state).toBe('idle');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('the error names the address and never the key', async () => {
    const connecting = failure(client().connect());
    ScriptedSocket.last.end();
    const { message } = await connecting;
    expect(message).toContain('ws://test/core');
    expect(message).not.toContain('secret');
  });

  test.each([
    [401, 'UnauthorizedError', 'unauthorized', false],
    [403, 'ForbiddenError', 'forbidden', false],
    [429, 'RateLimitError', 'rate_limited', true],
    [503, 'UnavailableError', 'unavailable', true],
    [502, 'ConnectError', 'connect_failed', true],
  ])('a refusal with HTTP status %i, where the platform shows it, is a %s', async (status, name, code, retry) => {
    const connecting = failure(client().connect());
    ScriptedSocket.last.onerror?.({ message: `Unexpected server response: ${status}` });
    ScriptedSocket.last.end();
    expect(await connecting).toMatchObject({ name, code, status, retry });
  });

  test('rejects with `timeout` when there is no first frame, and closes the socket', async () => {
    const relayBox = client({ timeouts: { connectMs: 2_000 } });
    const connecting = failure(relayBox.connect());
    const socket = ScriptedSocket.last;
    vi.advanceTimersByTime(1_999);
    expect(socket.closedWith).toBeUndefined();
    vi.advanceTimersByTime(1);
    expect(await connecting).toMatchObject({ name: 'TimeoutError', code: 'timeout', retry: true });
    expect(socket.closedWith).toEqual([]);
    expect(socket.listeners).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('rejects when the WebSocket itself refuses', async () => {
    class Refusing extends ScriptedSocket {
      constructor(url: string) {
        super(url);
        throw new SyntaxError('not an address');
      }
    }
    const relayBox = client({ WebSocket: Refusing });
    expect(await failure(relayBox.connect())).toMatchObject({ code: 'connect_failed', message: expect.stringContaining('not an address') });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('a failed one can be tried again', async () => {
    const relayBox = client();
    const first = failure(relayBox.connect());
    ScriptedSocket.last.end();
    await first;
    const second = relayBox.connect();
    ScriptedSocket.last.hello();
    expect((await second).node).toBe('f1');
  });
});

describe('disconnect()', () => {
  test('closes without a code and keeps no timer, no socket listener and no request', async () => {
    const { relayBox, socket } = await connected();
    ScriptedSocket.answer = () => null;
    const log = record(relayBox);
    const joining = failure(relayBox.join('myRoom'));
    expect(vi.getTimerCount()).toBe(1);
    expect(socket.listeners).toBe(2);
    relayBox.disconnect();
    expect(socket.closedWith).toEqual([]);
    expect(socket.listeners).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    expect(await joining).toMatchObject({ code: 'disconnected', retry: true });
    expect(log).toEqual([['disconnect', { code: 1005, reason: '', reconnecting: false }]]);
    expect(relayBox.connection).toMatchObject({ state: 'idle', id: undefined });
  });

  test('a socket that is closed before it opened may still report an error', async () => {
    const relayBox = client();
    const connecting = failure(relayBox.connect());
    const socket = ScriptedSocket.last;
    relayBox.disconnect();
    expect(await connecting).toMatchObject({ code: 'disconnected' });
    expect(socket.onerror).toBeTypeOf('function');
    socket.onerror?.({ message: 'WebSocket was closed before the connection was established' });
  });

  test('ends the wait for a reconnect', async () => {
    const { relayBox, socket } = await connected();
    socket.end();
    expect(relayBox.connection.state).toBe('reconnecting');
    expect(vi.getTimerCount()).toBe(2); // the delay, and how long requests wait
    relayBox.disconnect();
    expect(vi.getTimerCount()).toBe(0);
    vi.runAllTimers();
    expect(ScriptedSocket.all).toHaveLength(1);
  });

  test('twice, or without a connection, does nothing', async () => {
    const { relayBox } = await connected();
    relayBox.disconnect();
    const log = record(relayBox);
    relayBox.disconnect();
    client().disconnect();
    expect(log).toEqual([]);
  });

  test('ends rooms and their handlers; a later connect() begins afresh, with the handlers of connection', async () => {
    const { relayBox, socket } = await connected();
    const room = await relayBox.join('myRoom');
    const heard: unknown[] = [];
    await room.presence.subscribe((event) => heard.push(event));
    relayBox.disconnect();
    expect(await failure(room.presence.join())).toMatchObject({ code: 'disconnected', message: 'disconnect() was called' });
    await room.leave();
    await room.presence.unsubscribe();
    const log = record(relayBox);
    const again = relayBox.connect();
    expect(ScriptedSocket.last).not.toBe(socket);
    expect(ScriptedSocket.last.url).not.toContain('connectionId');
    ScriptedSocket.last.hello();
    await again;
    expect(words(log)).toEqual(['connecting', 'connect']);
    expect(ScriptedSocket.last.sent).toEqual([]);
    ScriptedSocket.last.frame('app1:myRoom:$:presence:join', { event: 'join' });
    expect(heard).toEqual([]);
  });
});

describe('frames', () => {
  test('what is not JSON is told as an error and harms nothing', async () => {
    const { relayBox, socket } = await connected();
    const log = record(relayBox);
    socket.onmessage?.({ data: '{"type":' });
    socket.onmessage?.({ data: 'null' });
    socket.frame('ds:server:unheard:of', {});
    socket.frame('app1:myRoom:$:presence:join', null);
    expect(log).toEqual([['error', expect.objectContaining({ code: 'protocol' })]]);
    expect(await relayBox.join('myRoom')).toMatchObject({ id: 'myRoom' });
  });

  test('a second first frame on the same socket changes nothing', async () => {
    const { relayBox, socket } = await connected();
    const log = record(relayBox);
    socket.hello({ connectionId: 'app1:ffffffffffffffffffff' });
    expect(relayBox.connectionId).toBe('app1:0123456789abcdef0123');
    expect(log).toEqual([]);
  });
});

describe('connection events', () => {
  test('on() and once() return what takes the handler back; off() does it by name', async () => {
    const { relayBox, socket } = await connected({ reconnect: { baseMs: 0 } });
    const { connection } = relayBox;
    const calls: string[] = [];
    const undo = connection.on('connecting', () => calls.push('undone'));
    const undoOnce = connection.once('connecting', () => calls.push('undone once'));
    const off = (): unknown => calls.push('off');
    connection.on('connecting', off);
    connection.on('connecting', () => calls.push('kept'));
    connection.once('connecting', () => calls.push('once'));
    undo();
    undoOnce();
    connection.off('connecting', off);
    socket.end();
    vi.runOnlyPendingTimers();
    ScriptedSocket.last.end();
    vi.runOnlyPendingTimers();
    expect(calls).toEqual(['kept', 'once', 'kept']);
    connection.off('connecting');
    ScriptedSocket.last.end();
    vi.runOnlyPendingTimers();
    connection.on('error', () => calls.push('error'));
    connection.off();
    ScriptedSocket.last.end();
    expect(calls).toHaveLength(3);
  });

  test('a handler that throws stops neither the others nor the connection, and is reported', async () => {
    const { relayBox } = await connected();
    const reported = uncaught();
    const calls: string[] = [];
    relayBox.connection.on('disconnect', () => {
      throw new Error('mine');
    });
    relayBox.connection.on('disconnect', () => calls.push('second'));
    relayBox.disconnect();
    expect(calls).toEqual(['second']);
    expect(await reported).toMatchObject({ message: 'mine' });
  });
});
