// The live map on two nodes, against what the server lists.

import { afterEach, expect, inject, test } from 'vitest';
import type { Member, Members, RelayBox } from '@relaybox/client';
import { Cable } from './cable';
import { connect, freshRoom, Heard } from './clients';

const cables: Cable[] = [];
afterEach(async () => {
  await Promise.all(cables.splice(0).map((one) => one.stop()));
});

const shown = (members: Members): unknown[] => [...members.values()].map(({ id, clientId, timestamp, revision, data }) => [id, clientId, timestamp, revision, data]);
const listed = (list: Member[]): unknown[] => [...list].reverse().map(({ id, clientId, timestamp, revision, data }) => [id, clientId, timestamp, revision, data]);

/** Resolves when the map is so. */
function until(members: Members, enough: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const undo = members.onChange(check);
    function check(): void {
      if (!enough()) return;
      undo();
      resolve();
    }
    if (members.live) check();
  });
}

test('it is what get() lists, in the order of joining, from the first moment on', async () => {
  const id = freshRoom();
  const people = await Promise.all([1, 2, 1].map((node, n) => connect(node as 1 | 2, { clientId: `p${n}` })));
  for (const [n, one] of people.entries()) await one.join(id).presence.join(n);
  const room = await (await connect(2)).join(id);
  const members = await room.presence.members.ready();
  expect(shown(members)).toEqual(listed(await room.presence.get()));
  expect([...members.values()].map(({ data }) => data)).toEqual([0, 1, 2]);
});

test('a watcher that begins in the middle of a hundred changes ends with the list', async () => {
  const id = freshRoom();
  const stays = await (await connect(1, { clientId: 'stays' })).join(id);
  await stays.presence.join('here');
  const people = await Promise.all([1, 2, 1, 2].map((node, n) => connect(node as 1 | 2, { clientId: `p${n}` })));
  const watchers: Members[] = [];
  const churn = Promise.all(people.map(async (one, n) => {
    const { presence } = await one.join(id);
    for (let round = 0; round < 6; round++) {
      await presence.join({ n, round });
      await presence.update({ n, round, moved: true });
      if (round < 5) await presence.leave();
    }
  }));
  for (const node of [1, 2, 1, 2] as const) watchers.push(await (await connect(node)).join(id).presence.members.ready());
  await churn;
  await stays.presence.update('done');
  for (const members of watchers) {
    await until(members, () => [...members.values()].some(({ data }) => data === 'done'));
    // Who joined in the same millisecond is in any order.
    expect(shown(members).sort()).toEqual(listed(await stays.presence.get()).sort());
    const times = [...members.values()].map(({ timestamp }) => timestamp);
    expect(times).toEqual([...times].sort());
  }
});

test('two tabs and five devices: one connection leaves, the others of the same client stay', async () => {
  const id = freshRoom();
  const members = await (await connect(2)).join(id).presence.members.ready();
  const changes = new Heard<string>();
  members.onChange(({ left }) => {
    for (const { clientId, data } of left) changes.push(`${clientId} ${data}`);
  });
  const tabs: RelayBox[] = [];
  for (let n = 0; n < 2; n++) tabs.push(await connect(((n % 2) + 1) as 1 | 2, { clientId: 'two' }));
  const devices: RelayBox[] = [];
  for (let n = 0; n < 5; n++) devices.push(await connect(((n % 2) + 1) as 1 | 2, { clientId: 'five' }));
  for (const [n, one] of [...tabs, ...devices].entries()) await one.join(id).presence.join(n);
  await until(members, () => members.size === 7);
  tabs[0]!.disconnect();
  await devices[2]!.join(id).presence.leave();
  await devices[4]!.join(id).leave();
  await changes.first(3);
  expect([...changes.all].sort()).toEqual(['five 4', 'five 6', 'two 0']);
  expect([...members.values()].map(({ clientId, data }) => `${clientId} ${data}`)).toEqual(['two 1', 'five 2', 'five 3', 'five 5']);
  expect(members.size).toBe(await tabs[1]!.join(id).presence.getCount());
});

test('over an outage of its own connection the map and the handlers come to what is true, each change told once', async () => {
  const id = freshRoom();
  const line = await Cable.to(inject('stack').urls[0]);
  cables.push(line);
  const [stays, goes, comes] = [await connect(1, { clientId: 'stays' }), await connect(2, { clientId: 'goes' }), await connect(2, { clientId: 'comes' })];
  await stays.join(id).presence.join(1);
  await goes.join(id).presence.join(1);
  const watcher = await connect(1, { url: line.url, reconnect: { baseMs: 1, capMs: 20 } });
  const { presence } = await watcher.join(id);
  const members = await presence.members.ready();
  const heard = new Heard<any>();
  await presence.subscribe(heard.push);
  const lost = new Promise((resolve) => watcher.connection.once('disconnect', resolve));
  line.pull();
  await lost;
  await goes.join(id).presence.leave();
  await stays.join(id).presence.update(2);
  await comes.join(id).presence.join(3);
  const back = new Promise((resolve) => watcher.connection.once('reconnected', resolve));
  line.plug(inject('stack').urls[1]);
  await back;
  expect(shown(members)).toEqual(listed(await presence.get()));
  await stays.join(id).presence.update('last');
  await heard.until((all) => all.at(-1)?.data === 'last');
  expect(heard.all.map(({ event, clientId }) => `${event} ${clientId}`).sort()).toEqual(['join comes', 'leave goes', 'update stays', 'update stays']);
});
