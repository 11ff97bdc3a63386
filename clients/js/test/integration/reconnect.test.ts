import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, expect, inject, test } from 'vitest';
import { RelayBox } from '@relaybox/client';
import { Cable } from './cable';
import { connect, failure, freshRoom, Heard, presenceOf } from './clients';

const cables: Cable[] = [];
afterEach(async () => {
  await Promise.all(cables.splice(0).map((one) => one.stop()));
});

async function cable(node: 1 | 2): Promise<Cable> {
  const made = await Cable.to(inject('stack').urls[node - 1]!);
  cables.push(made);
  return made;
}

const happens = (relayBox: RelayBox, event: 'reconnected' | 'disconnect'): Promise<void> =>
  new Promise((resolve) => relayBox.connection.once(event, () => resolve()));

test('after a broken link rooms, subscriptions and the membership are back, with the last data, on another node', async () => {
  const id = freshRoom();
  const line = await cable(1);
  const relayBox = await connect(1, { url: line.url, clientId: 'ana', reconnect: { baseMs: 1 } });
  const watcher = await (await connect(2)).join(id);
  const seen = await presenceOf(watcher);
  const room = await relayBox.join(id);
  const [messages, updates] = [new Heard<any>(), new Heard<any>()];
  await room.subscribe('message', messages.push);
  await room.presence.subscribe('update', updates.push);
  await room.presence.join({ n: 1 });
  await room.presence.update({ n: 2 });

  const back = happens(relayBox, 'reconnected');
  line.pull();
  line.plug(inject('stack').urls[1]);
  await back;
  expect(relayBox.node).toBe('n2');
  expect((await watcher.presence.get()).map(({ clientId, data }) => [clientId, data])).toEqual([['ana', { n: 2 }]]);
  await room.presence.update({ n: 3 });
  await watcher.publish('message', 'hello again');
  expect(await messages.first(1)).toMatchObject([{ body: 'hello again' }]);
  await updates.until((all) => all.some(({ data }) => data.n === 3));
  // Whoever watched can always say who is there: joins and leaves alternate.
  const kinds = (await seen.until((all) => all.at(-1)?.data.n === 3)).map(({ event }) => event).filter((event) => event !== 'update');
  expect(kinds[0]).toBe('join');
  for (const [n, kind] of kinds.entries()) expect(kind).toBe(n % 2 === 0 ? 'join' : 'leave');
});

test('requests made in an outage are answered after it; what was under way is answered or rejected, none hangs', async () => {
  const line = await cable(1);
  const relayBox = await connect(1, { url: line.url, clientId: 'ana', reconnect: { baseMs: 1, capMs: 20 } });
  const room = await relayBox.join(freshRoom());
  const lost = happens(relayBox, 'disconnect');
  line.pull();
  const under = room.publish('message', 'under way').catch((error: unknown) => error);
  await lost;
  const meanwhile = [room.presence.join('meanwhile'), room.publish('message', 'meanwhile')];
  const back = happens(relayBox, 'reconnected');
  line.plug();
  await back;
  await Promise.all(meanwhile);
  expect((await room.presence.get()).map(({ data }) => data)).toEqual(['meanwhile']);
  const settled: any = await under;
  if (settled instanceof Error) expect(settled).toMatchObject({ code: 'disconnected', retry: true });
  else expect(settled).toMatchObject({ body: 'under way' });
});

test('an outage that lasts rejects what waits and refuses the rest', async () => {
  const line = await cable(1);
  const relayBox = await connect(1, { url: line.url, clientId: 'ana', reconnect: { baseMs: 1, capMs: 20 }, timeouts: { requestMs: 300 } });
  const room = await relayBox.join(freshRoom());
  const suspended = new Promise<void>((resolve) => relayBox.connection.once('suspended', resolve));
  const lost = happens(relayBox, 'disconnect');
  line.pull();
  await lost;
  const waiting = failure(room.presence.join());
  await suspended;
  expect(await waiting).toMatchObject({ code: 'disconnected', retry: true });
  expect(await failure(room.presence.join())).toMatchObject({ code: 'disconnected', retry: true });
  const back = happens(relayBox, 'reconnected');
  line.plug();
  await back;
  await room.presence.join();
  expect(await room.presence.getCount()).toBe(1);
});

test('connect() while the cable is out waits for it; disconnect() ends the trying', async () => {
  const line = await cable(1);
  const relayBox = await connect(1, { url: line.url, reconnect: { baseMs: 1, capMs: 5 } });
  const errors = new Heard<any>();
  relayBox.connection.on('error', errors.push);
  line.pull();
  await errors.first(3);
  expect(errors.all[0]).toMatchObject({ name: 'ConnectError', retry: true });
  const again = relayBox.connect();
  line.plug(inject('stack').urls[1]);
  expect((await again).node).toBe('n2');
  line.pull();
  await errors.first(errors.all.length + 1);
  relayBox.disconnect();
  expect(relayBox.connection.state).toBe('idle');
});

test('forty rooms come back though the server lets in thirty joins in 5 s', async () => {
  const line = await cable(1);
  const relayBox = await connect(1, { url: line.url, clientId: 'ana', reconnect: { baseMs: 1 } });
  const ids = Array.from({ length: 40 }, freshRoom);
  for (const id of ids) {
    for (;;) {
      try {
        await relayBox.join(id).presence.join();
        break;
      } catch (error: any) {
        expect(error).toMatchObject({ code: 'rate_limited', retry: true });
        await wait(error.retryAfterMs); // as long as the server says
      }
    }
  }
  const back = happens(relayBox, 'reconnected');
  line.pull();
  line.plug(inject('stack').urls[1]);
  await back;
  const counts = await Promise.all(ids.map((id) => relayBox.join(id).presence.getCount()));
  expect(counts).toEqual(ids.map(() => 1));
});

test('disconnect() lets the process end: nothing of ours keeps it', async () => {
  const { urls, apiKey } = inject('stack');
  const program = `
    import { RelayBox } from '@relaybox/client';
    import WebSocket from 'ws';
    const relayBox = new RelayBox({ apiKey: '${apiKey}', clientId: 'ana', url: '${urls[0]}', WebSocket });
    await relayBox.connect();
    const room = await relayBox.join('${freshRoom()}');
    await room.presence.subscribe(() => {});
    await room.presence.join();
    room.presence.get().catch((error) => console.log(error.code));
    relayBox.disconnect();`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { cwd: join(import.meta.dirname, '../..'), stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.on('data', (text) => (printed += String(text)));
  const [code] = await once(child, 'close');
  expect([code, printed]).toEqual([0, 'disconnected\n']);
});
