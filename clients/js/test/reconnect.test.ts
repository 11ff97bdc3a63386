import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { delayMs } from '../src/backoff';
import { names, record, words } from './record';
import { client, connected, failure, ScriptedSocket } from './scripted-socket';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('reconnecting', () => {
  test('tells its steps, sends the connection id, and keeps what the new first frame says', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    const { relayBox, socket } = await connected();
    const log = record(relayBox);
    socket.end(1001, 'drain');
    expect(log).toEqual([
      ['disconnect', { code: 1001, reason: 'drain', reconnecting: true }],
      ['reconnecting', 1, 250],
    ]);
    expect(relayBox.connectionId).toBe('app1:0123456789abcdef0123');
    vi.advanceTimersByTime(250);
    const next = ScriptedSocket.last;
    expect(new URL(next.url).searchParams.get('connectionId')).toBe('app1:0123456789abcdef0123');
    next.hello({ node: 'f2' });
    await vi.advanceTimersByTimeAsync(0);
    expect(words(log)).toEqual(['disconnect', 'reconnecting', 'connecting', 'connect', 'reconnected']);
    expect(log.at(-1)).toEqual(['reconnected', 1, { resumed: true, rooms: [], memberships: [] }]);
    expect(relayBox.node).toBe('f2');
    vi.mocked(Math.random).mockRestore();
  });

  test('waits a random time below a bound that doubles up to the cap', () => {
    const bounds = (random: number): number[] =>
      [1, 2, 3, 4, 5, 6, 60].map((attempt) => delayMs(attempt, { baseMs: 500, capMs: 10_000 }, () => random));
    expect(bounds(1)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    expect(bounds(0)).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(bounds(0.5)).toEqual([250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
  });

  test('goes on after failed attempts, tells each, and never has more than one socket', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const { relayBox, socket } = await connected();
    const log = record(relayBox);
    socket.end();
    const delays: unknown[] = [];
    for (let attempt = 1; attempt <= 6; attempt++) {
      delays.push(log.findLast(([name]) => name === 'reconnecting')?.[2]);
      vi.runOnlyPendingTimers();
      expect(ScriptedSocket.all).toHaveLength(1 + attempt);
      ScriptedSocket.last.end();
    }
    expect(delays).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000]);
    expect(log.filter(([name]) => name === 'error')).toHaveLength(6);
    relayBox.disconnect();
    vi.mocked(Math.random).mockRestore();
  });

  test('an attempt without a first frame ends at the deadline and the next one follows', async () => {
    const { relayBox, socket } = await connected({ timeouts: { connectMs: 3_000 } });
    socket.end();
    vi.advanceTimersToNextTimer();
    const silent = ScriptedSocket.last;
    vi.advanceTimersByTime(3_000);
    // Not a goodbye: the server may have resumed the connection on it.
    expect(silent.closedWith).toEqual([4_000]);
    vi.advanceTimersToNextTimer();
    expect(ScriptedSocket.last).not.toBe(silent);
    ScriptedSocket.last.hello();
    expect(relayBox.connection.state).toBe('connected');
  });

  test('gives up after `attempts`, and settles who waits', async () => {
    const { relayBox, socket } = await connected({ reconnect: { attempts: 2 } });
    const log = record(relayBox);
    socket.end();
    const waiting = failure(relayBox.connect());
    ScriptedSocket.last.end();
    vi.runOnlyPendingTimers();
    ScriptedSocket.last.end();
    expect(log.at(-1)).toEqual(['reconnect_failed', 2]);
    expect(await waiting).toMatchObject({ code: 'disconnected', message: 'gave up after 2 attempts' });
    expect(relayBox.connection.state).toBe('idle');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('connect() meanwhile tries at once and resolves when it is back', async () => {
    const { relayBox, socket } = await connected();
    socket.end();
    const back = relayBox.connect();
    expect(ScriptedSocket.all).toHaveLength(2);
    expect(vi.getTimerCount()).toBe(2); // the first frame's deadline, and how long requests wait
    ScriptedSocket.last.hello({ node: 'f3' });
    expect((await back).node).toBe('f3');
  });

  test('a server that accepts and closes again is asked ever more slowly', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const { relayBox, socket } = await connected();
    const log = record(relayBox);
    socket.end(1008);
    for (let n = 0; n < 4; n++) {
      vi.runOnlyPendingTimers();
      ScriptedSocket.last.hello();
      ScriptedSocket.last.end(1008);
    }
    expect(log.filter(([name]) => name === 'reconnecting').map(([, , delay]) => delay)).toEqual([500, 1_000, 2_000, 4_000, 8_000]);
    relayBox.disconnect();
    vi.mocked(Math.random).mockRestore();
  });

  test('a connection that lasted begins again with the shortest delay', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const { relayBox, socket } = await connected();
    const log = record(relayBox);
    socket.end();
    vi.runOnlyPendingTimers();
    ScriptedSocket.last.hello();
    vi.advanceTimersByTime(5_000);
    ScriptedSocket.last.end();
    expect(log.findLast(([name]) => name === 'reconnecting')).toEqual(['reconnecting', 1, 500]);
    relayBox.disconnect();
    vi.mocked(Math.random).mockRestore();
  });

  test('disconnect() in a handler of `disconnect` ends it', async () => {
    const { relayBox, socket } = await connected();
    relayBox.connection.on('disconnect', () => relayBox.disconnect());
    socket.end();
    expect(relayBox.connection.state).toBe('idle');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('disconnect() in a handler of `connecting` ends it', async () => {
    const relayBox = client();
    relayBox.connection.on('connecting', () => relayBox.disconnect());
    expect(await failure(relayBox.connect())).toMatchObject({ code: 'disconnected' });
    expect(ScriptedSocket.last.closedWith).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('the proof that a connection is ours', () => {
  const secret = 's3cr3t-of-the-first-frame';

  test('is asked for, kept, shown at each reconnect, and forgotten with the connection', async () => {
    const relayBox = client();
    void relayBox.connect();
    ScriptedSocket.last.hello({ features: ['resume'], resumeSecret: secret });
    const shown = (): unknown => {
      const query = new URL(ScriptedSocket.last.url).searchParams;
      return [query.get('features'), query.get('connectionId'), query.get('resumeSecret')];
    };
    expect(shown()).toEqual(['resume', null, null]);
    for (let n = 0; n < 2; n++) {
      ScriptedSocket.last.end();
      void relayBox.connect();
      expect(shown()).toEqual(['resume', 'app1:0123456789abcdef0123', secret]);
      ScriptedSocket.last.hello(); // whose it is already is not told it again
    }
    relayBox.disconnect();
    relayBox.connect().catch(() => {});
    expect(shown()).toEqual(['resume', null, null]);
    relayBox.disconnect();
  });

  test('is in nothing that can be printed', async () => {
    const relayBox = client();
    const info = relayBox.connect();
    ScriptedSocket.last.hello({ features: ['resume'], resumeSecret: secret });
    const log: unknown[] = [await info];
    for (const name of names) relayBox.connection.on(name, (...args: unknown[]) => log.push(...args));
    class Refusing extends ScriptedSocket {
      constructor(url: string) {
        super(url);
        throw new SyntaxError(`the address ${url} is not one`);
      }
    }
    const refused = client({ WebSocket: Refusing });
    log.push(await failure(refused.connect()));
    ScriptedSocket.last.end();
    ScriptedSocket.last.end(1006, 'bye');
    log.push(relayBox, relayBox.connection, refused);
    const printed = `${inspect(log, { depth: 9, showHidden: true })}${JSON.stringify(log)}${log.map(String).join()}`;
    expect(printed).not.toContain(secret);
    expect(printed).not.toContain('key1');
    relayBox.disconnect();
  });
});
