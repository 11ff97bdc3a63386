// Back within the grace, on the other node: nobody sees anything, and nothing is missed.

import { afterEach, expect, inject, test } from 'vitest';
import WebSocket from 'ws';
import type { RelayBox, Restored, Room } from '@relaybox/client';
import { Cable } from './cable';
import { connect, freshRoom, Heard, presenceOf } from './clients';

const cables: Cable[] = [];
afterEach(async () => {
  await Promise.all(cables.splice(0).map((one) => one.stop()));
});

const quick = { baseMs: 1, capMs: 20 };

/** A client behind a cable to node 1. */
async function onCable(clientId?: string): Promise<{ line: Cable; relayBox: RelayBox }> {
  const line = await Cable.to(inject('stack').urls[0]);
  cables.push(line);
  return { line, relayBox: await connect(1, { url: line.url, clientId, reconnect: quick }) };
}

const reconnected = (relayBox: RelayBox): Promise<Restored> =>
  new Promise((resolve) => relayBox.connection.once('reconnected', (_, restored) => resolve(restored)));

const lost = (relayBox: RelayBox): Promise<unknown> => new Promise((resolve) => relayBox.connection.once('disconnect', resolve));

/** What was heard up to a mark that someone else made: what came before it has come. */
async function seen(heard: Heard<any>): Promise<string[]> {
  await heard.until((all) => all.some(({ data }) => data === 'mark'));
  return heard.all.map(({ event, clientId, data }) => `${event} ${clientId} ${data}`);
}

async function mark(room: Room, heard: Heard<any>): Promise<string[]> {
  await room.presence.update('mark');
  return seen(heard);
}

test.each([['the same node', 0], ['the other node', 1]] as const)('a lost socket is resumed on %s: rooms, subscriptions and the membership as they were', async (_, to) => {
  const id = freshRoom();
  const marker = await (await connect(1, { clientId: 'marker' })).join(id);
  await marker.presence.join();
  const watchers = await Promise.all(([1, 2] as const).map(async (node) => presenceOf(await (await connect(node)).join(id))));
  const { line, relayBox } = await onCable('ana');
  const room = await relayBox.join(id);
  const messages = new Heard<any>();
  await room.subscribe('message', messages.push);
  await room.presence.join({ n: 1 });
  for (const heard of watchers) {
    await heard.first(1);
    heard.all.length = 0;
  }
  const [connectionId, listed] = [relayBox.connectionId, (await room.presence.get()).find(({ clientId }) => clientId === 'ana')];

  const back = reconnected(relayBox);
  line.pull();
  line.plug(inject('stack').urls[to]);
  expect(await back).toEqual({ resumed: true, rooms: [], memberships: [] });
  expect([relayBox.connectionId, relayBox.node]).toEqual([connectionId, `n${to + 1}`]);
  expect((await room.presence.get()).find(({ clientId }) => clientId === 'ana')).toEqual(listed);
  await marker.presence.update('mark');
  for (const heard of watchers) expect(await seen(heard)).toEqual(['update marker mark']);
  await marker.publish('message', 'still subscribed');
  expect(await messages.first(1)).toMatchObject([{ body: 'still subscribed' }]);
});

test('what happened in the outage is told to handlers, in order, with its reason, once', async () => {
  const id = freshRoom();
  const stays = await (await connect(1, { clientId: 'stays' })).join(id);
  await stays.presence.join(0);
  const goes = await connect(2, { clientId: 'goes' });
  await goes.join(id).presence.join(0);
  const { line, relayBox } = await onCable('ana');
  const { presence } = await relayBox.join(id);
  await presence.members.ready();
  const heard = new Heard<any>();
  await presence.subscribe(heard.push);

  const gone = lost(relayBox);
  line.pull();
  await gone;
  for (let n = 1; n <= 3; n++) await stays.presence.update(n);
  goes.disconnect();
  const other = await (await connect(2, { clientId: 'comes' })).join(id);
  await other.presence.join(0);
  await other.presence.leave('bye');
  const back = reconnected(relayBox);
  line.plug(inject('stack').urls[1]);
  expect(await back).toMatchObject({ resumed: true });
  await mark(stays, heard);
  expect(heard.all.map(({ event, clientId, data, reason }) => [event, clientId, data, reason])).toEqual([
    ['update', 'stays', 1, undefined], ['update', 'stays', 2, undefined], ['update', 'stays', 3, undefined], ['leave', 'goes', 0, 'closed'],
    ['join', 'comes', 0, undefined], ['leave', 'comes', 'bye', 'left'], ['update', 'stays', 'mark', undefined],
  ]);
  const revisions = heard.all.map(({ revision }) => revision);
  for (const [n, revision] of revisions.entries()) if (n > 0) expect(revision).toBe(revisions[n - 1] + 1);
  expect([...presence.members.values()].map(({ clientId }) => clientId)).toEqual(['stays']);
});

test('a half-open socket is taken over by the next one; a leave with its grace does not follow', async () => {
  const id = freshRoom();
  const marker = await (await connect(2, { clientId: 'marker' })).join(id);
  await marker.presence.join();
  const heard = await presenceOf(marker);
  const { line, relayBox } = await onCable('ana');
  const room = await relayBox.join(id);
  await room.presence.join(1);
  await heard.first(1);
  heard.all.length = 0;
  line.stall();
  const back = reconnected(relayBox);
  // As a page that is shown again would: the socket says nothing, so another one is taken.
  (relayBox.connection as unknown as { check(): void }).check();
  line.plug(inject('stack').urls[1]);
  expect(await back).toMatchObject({ resumed: true });
  expect(await mark(marker, heard)).toEqual(['update marker mark']);
  expect(await room.presence.getCount()).toBe(2);
});

test('ten losses in a row, from node to node, under a stream of updates: no leave, no join, and the last data', async () => {
  const id = freshRoom();
  const marker = await (await connect(2, { clientId: 'marker' })).join(id);
  await marker.presence.join();
  const heard = await presenceOf(marker);
  const { line, relayBox } = await onCable('ana');
  const room = await relayBox.join(id);
  await room.presence.join(0);
  let n = 0;
  const updates: Promise<unknown>[] = [];
  for (let round = 1; round <= 10; round++) {
    const back = reconnected(relayBox);
    for (let i = 0; i < 2; i++) updates.push(room.presence.update(++n).catch((error: any) => expect(error.code).toBe('disconnected')));
    line.pull();
    line.plug(inject('stack').urls[round % 2]);
    expect(await back).toMatchObject({ resumed: true });
  }
  await Promise.all(updates); // none hangs
  await room.presence.update(++n);
  await mark(marker, heard);
  expect(heard.all.filter(({ clientId, event }) => clientId === 'ana' && event !== 'update').map(({ event }) => event)).toEqual(['join']);
  expect((await marker.presence.get()).find(({ clientId }) => clientId === 'ana')?.data).toBe(n);
});

test('who knows a connection only by its id cannot take it', async () => {
  const { relayBox } = await onCable('ana');
  const { urls, apiKey } = inject('stack');
  const thief = new WebSocket(`${urls[1]}?apiKey=${encodeURIComponent(apiKey)}&clientId=ana&connectionId=${relayBox.connectionId}`);
  const refused: any = await new Promise((resolve) => thief.once('error', resolve));
  expect(refused.message).toContain('403');
  expect((await relayBox.create(freshRoom())).visibility).toBe('public');
});
