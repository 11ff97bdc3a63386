// At random: what handlers were told and what the live map shows come to what the server has, whatever
// an outage hid, the server replayed, and when. Each seed is a test of its own run: a failure names it.

import { expect, test } from 'vitest';
import type { Member, MembersChange, PresenceEvent } from '../src/index';
import { own, PresenceServer } from './presence-server';
import { connected, ScriptedSocket, settled } from './scripted-socket';

/** The same numbers for the same seed (mulberry32). */
function numbers(seed: number): (below: number) => number {
  let a = seed;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

type Truth = Record<string, unknown>;
const truth = (list: Iterable<Pick<Member, 'id' | 'data'>>): Truth => Object.fromEntries([...list].map(({ id, data }) => [id, data]));

async function run(seed: number): Promise<void> {
  const pick = numbers(seed);
  const server = new PresenceServer();
  // Everything that happens in the room, as a server that replays would have it.
  const ring: PresenceEvent[] = [];
  server.happened = (event) => ring.push(event as PresenceEvent);
  const someone = (): string => `app1:p${pick(4)}`;
  let n = 0;
  const act = (): void => {
    const id = someone();
    if (pick(3) === 0) server.leave('r', id);
    else server.enter('r', id, ++n);
  };
  for (let i = pick(6); i > 0; i--) act();

  const { relayBox } = await connected({ reconnect: { baseMs: 100_000, capMs: 100_000 } });
  const { presence } = await relayBox.join('r');
  const told: PresenceEvent[] = [];
  await presence.subscribe((event) => told.push(event));
  const byEvents = new Map<string, unknown>();
  let folded = 0;
  const first = await presence.get();
  for (const { id, data } of first) byEvents.set(id, data);
  const byChanges = new Map<string, unknown>();
  const live = pick(2) === 0;
  const change = ({ joined, updated, left }: MembersChange): void => {
    for (const { id } of left) {
      expect(byChanges.delete(id)).toBe(true);
    }
    for (const { id, data } of joined) {
      expect(byChanges.has(id)).toBe(false);
      byChanges.set(id, data);
    }
    for (const { id, data } of updated) {
      expect(byChanges.has(id)).toBe(true);
      byChanges.set(id, data);
    }
  };
  if (live) presence.members.onChange(change);
  await settled();
  if (pick(2) === 0) await presence.join(++n);

  const check = async (when: string): Promise<void> => {
    await settled();
    for (; folded < told.length; folded++) {
      const { event, id, data, revision } = told[folded]!;
      if (revision <= first.revision) continue;
      if (event === 'leave') expect(byEvents.delete(id), `${when}: leave of ${id}`).toBe(true);
      else {
        expect(byEvents.has(id), `${when}: ${event} of ${id}`).toBe(event === 'update');
        byEvents.set(id, data);
      }
    }
    const is = truth(server.list('r'));
    expect(Object.fromEntries(byEvents), `${when}: events`).toEqual(is);
    if (!live) return;
    expect(truth(presence.members.values()), `${when}: map`).toEqual(is);
    expect(Object.fromEntries(byChanges), `${when}: changes`).toEqual(is);
    expect(presence.members.live).toBe(true);
    const times = [...presence.members.values()].map(({ timestamp }) => timestamp);
    expect(times).toEqual([...times].sort());
  };

  for (let round = 0; round < 6; round++) {
    for (let i = pick(5); i > 0; i--) act();
    await check(`round ${round}`);
    // An outage: the last events before it may be lost in the network, too.
    const bound = new Set(server.bound);
    if (pick(3) === 0) {
      server.bound.clear();
      for (let i = pick(3); i > 0; i--) act();
    }
    ScriptedSocket.last.end();
    server.bound.clear();
    const from = ring.length;
    for (let i = pick(8); i > 0; i--) act();
    const what = pick(4);
    if (what === 0) server.forget('all');
    if (what === 1) server.forget('memberships');
    void relayBox.connect();
    const socket = ScriptedSocket.last;
    const replay = ring.slice(Math.max(0, from - pick(6)));
    const late = pick(2) === 0;
    const send = (): void => {
      for (const event of replay) socket.frame(`app1:r:$:presence:${event.event}`, structuredClone(event));
    };
    socket.hello();
    if (what > 1) for (const one of bound) server.bound.add(one);
    // The whole of it, from before what was told; a server whose node is gone replays nothing.
    if (what > 1 && pick(2) === 0) {
      if (!late) send();
      else {
        for (let turn = pick(20); turn > 0; turn--) await Promise.resolve();
        const heard = ring.length;
        send();
        expect(ring.length).toBe(heard);
      }
    }
    await check(`round ${round}, back`);
  }
  expect(told.every(({ id }) => id === own || id.startsWith('app1:p'))).toBe(true);
  relayBox.disconnect();
}

test('300 random lives', { timeout: 60_000 }, async () => {
  for (let seed = 1; seed <= 300; seed++) {
    try {
      await run(seed);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});
