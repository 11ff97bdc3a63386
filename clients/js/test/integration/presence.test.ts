import { describe, expect, inject, test } from 'vitest';
import { connect, freshRoom, Heard, presenceOf } from './clients';

const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

describe('get() and getCount()', () => {
  test('of an empty room', async () => {
    const room = await (await connect(1)).join(freshRoom());
    const members = await room.presence.get();
    expect([...members]).toEqual([]);
    expect(members.revision).toBe(0);
    expect(await room.presence.getCount()).toBe(0);
  });

  test('list one entry a connection, newest join first, on every node', async () => {
    const id = freshRoom();
    const [bob, first, second] = [await connect(1, { clientId: 'bob' }), await connect(1, { clientId: 7 }), await connect(2, { clientId: '7' })];
    await bob.join(id).presence.join({ username: 'Bob' });
    await first.join(id).presence.join();
    await second.join(id).presence.join(null);
    for (const node of [1, 2] as const) {
      const { presence } = await (await connect(node)).join(id);
      const members = await presence.get();
      const member = (relayBox: typeof bob, fields: object): object => ({
        id: relayBox.connectionId, clientId: relayBox.clientId, connectionId: relayBox.connectionId,
        event: 'join', timestamp: iso, revision: expect.any(Number), ...fields,
      });
      expect([...members]).toStrictEqual([
        member(second, { data: null }), member(first, {}), member(bob, { data: { username: 'Bob' } }),
      ]);
      expect(members.revision).toBe(Math.max(...members.map(({ revision }) => revision)));
      expect((await presence.get({ limit: 2 })).map(({ clientId }) => clientId)).toEqual(['7', '7']);
      expect(await presence.getCount()).toBe(3);
    }
  });

  test('show a member as it is now, with the time of its join', async () => {
    const id = freshRoom();
    const heard = await presenceOf(await (await connect(2)).join(id));
    const { presence } = await (await connect(1, { clientId: 'ana' })).join(id);
    await presence.join({ n: 1 });
    await presence.update({ n: 2 });
    const [joined, updated] = await heard.first(2);
    const members = await presence.get();
    expect([...members]).toStrictEqual([{ ...joined, data: { n: 2 }, revision: updated.revision }]);
    expect(members.revision).toBe(updated.revision);
  });

  test('closing one of two connections of a client leaves the other', async () => {
    const id = freshRoom();
    const [one, two] = [await connect(1, { clientId: 'ana' }), await connect(2, { clientId: 'ana' })];
    const watcher = await (await connect(1)).join(id);
    const heard = await presenceOf(watcher);
    await one.join(id).presence.join('one');
    await two.join(id).presence.join('two');
    await heard.first(2);
    one.disconnect();
    expect((await heard.first(3))[2]).toMatchObject({ event: 'leave', data: 'one', reason: 'closed' });
    expect((await watcher.presence.get()).map(({ data }) => data)).toEqual(['two']);
  });
});

describe('events', () => {
  test('leave(data) goes out with that data, leave() with the last', async () => {
    const id = freshRoom();
    const heard = await presenceOf(await (await connect(2)).join(id));
    const { presence } = await (await connect(1, { clientId: 'ana' })).join(id);
    await presence.join(1);
    await presence.leave(2);
    await presence.join(3);
    await presence.leave();
    await presence.leave(); // not a member: no event
    await presence.join(4);
    expect((await heard.first(5)).map(({ event, data, reason }) => [event, data, reason])).toEqual([
      ['join', 1, undefined], ['leave', 2, 'left'], ['join', 3, undefined], ['leave', 3, 'left'], ['join', 4, undefined],
    ]);
  });

  test('a member that does not subscribe is seen, and who subscribes need not be a member', async () => {
    const id = freshRoom();
    const watcher = await (await connect(1)).join(id);
    const heard = await presenceOf(watcher);
    await (await connect(2, { clientId: 'ana' })).join(id).presence.join();
    await heard.first(1);
    expect(await watcher.presence.getCount()).toBe(1);
  });

  test('of a connection itself come to it, too, after the acknowledgement', async () => {
    const id = freshRoom();
    const relayBox = await connect(1, { clientId: 'ana' });
    const room = await relayBox.join(id);
    const heard = await presenceOf(room);
    await room.presence.join({ n: 1 });
    await room.presence.update({ n: 2 });
    await room.presence.leave();
    const events = await heard.first(3);
    expect(events.map(({ event, connectionId }) => [event, connectionId])).toEqual(
      ['join', 'update', 'leave'].map((event) => [event, relayBox.connectionId]),
    );
  });

  test('come in revision order without a hole, the same on both nodes', async () => {
    const id = freshRoom();
    const [here, there] = [await presenceOf(await (await connect(1)).join(id)), await presenceOf(await (await connect(2)).join(id))];
    // The first member's stay keeps the room from emptying: then its revisions have no hole.
    await (await connect(1, { clientId: 'stays' })).join(id).presence.join();
    const people = await Promise.all([1, 2, 1, 2].map((node, n) => connect(node as 1 | 2, { clientId: n })));
    await Promise.all(people.map(async (relayBox, n) => {
      const { presence } = await relayBox.join(id);
      for (let round = 0; round < 5; round++) {
        await presence.join({ n, round });
        await presence.update({ n, round, moved: true });
        await presence.leave();
      }
    }));
    const count = 1 + 4 * 5 * 3;
    const events = structuredClone(await here.first(count));
    expect(await there.first(count)).toEqual(events);
    for (const [n, { revision }] of events.entries()) if (n > 0) expect(revision).toBe(events[n - 1].revision + 1);
  });

  test('unsubscribe in each of its forms', async () => {
    const id = freshRoom();
    const { presence } = await (await connect(2)).join(id);
    const member = await (await connect(1, { clientId: 'ana' })).join(id);
    const [joins, updates, every, leaves, marks] = Array.from({ length: 5 }, () => new Heard<any>()) as [Heard<any>, Heard<any>, Heard<any>, Heard<any>, Heard<any>];
    // Events of a room come in order: what is not there when the mark is, does not come.
    await presence.subscribe('update', marks.push);
    let marked = 0;
    const comeAndGo = async (): Promise<void> => {
      await member.presence.join();
      await member.presence.leave();
      await member.presence.join();
      await member.presence.update('mark');
      await marks.first(++marked);
    };
    const undo = await presence.subscribe('join', joins.push);
    await presence.subscribe('update', updates.push);
    await presence.subscribe(every.push);
    await presence.subscribe('leave', leaves.push);
    await undo();
    await presence.unsubscribe('update', updates.push);
    await presence.unsubscribe(every.push);
    await comeAndGo();
    expect(leaves.all).toHaveLength(1);
    await presence.unsubscribe('leave');
    await comeAndGo();
    expect(leaves.all).toHaveLength(1);
    await presence.subscribe('join', joins.push);
    await presence.unsubscribe();
    await presence.subscribe('update', marks.push);
    await comeAndGo();
    expect([joins.all, updates.all, every.all]).toEqual([[], [], []]);
    await presence.subscribe('leave', leaves.push);
    await member.presence.leave('again');
    expect((await leaves.first(2))[1]).toMatchObject({ event: 'leave', data: 'again' });
  });

  test('subscribe, unsubscribe, subscribe, all at once: the last one holds', async () => {
    const id = freshRoom();
    const member = await (await connect(1, { clientId: 'ana' })).join(id);
    for (let round = 0; round < 20; round++) {
      const room = (await connect(2)).join(id);
      const heard = new Heard<any>();
      const calls = [
        room.presence.subscribe('join', heard.push), room.presence.unsubscribe('join'),
        room.presence.subscribe('join', heard.push), room.presence.unsubscribe(),
        room.presence.subscribe('join', heard.push),
      ];
      await Promise.all(calls);
      await member.presence.join(round);
      expect((await heard.first(1))[0].data).toBe(round);
      await member.presence.leave();
    }
  });
});

describe('a list and the events after it', () => {
  test('make the present state, whenever one begins: nothing is missed, nothing told twice', async () => {
    const id = freshRoom();
    const people = await Promise.all(Array.from({ length: 6 }, (_, n) => connect(n % 2 === 0 ? 1 : 2, { clientId: `p${n}` })));
    let going = true;
    const churn = people.map(async (relayBox, n) => {
      const { presence } = await relayBox.join(id);
      for (let round = 0; going; round++) {
        await presence.join({ n, round });
        if (round % 3 !== 0) await presence.leave();
      }
      await presence.leave();
      await presence.join({ n, last: true });
    });
    const views = [];
    for (let view = 0; view < 8; view++) {
      const room = await (await connect(view % 2 === 0 ? 2 : 1)).join(id);
      // As the page does it: subscribe, then the list; what is older than the list is in it.
      const heard = await presenceOf(room);
      views.push({ heard, list: await room.presence.get() });
    }
    going = false;
    await Promise.all(churn);
    const truth = await (await (await connect(1)).join(id)).presence.get();
    expect(truth).toHaveLength(people.length);
    for (const { heard, list } of views) {
      const members = new Map(list.map((member) => [member.id, member.data]));
      await heard.until((all) => (all.at(-1)?.revision ?? list.revision) >= truth.revision);
      for (const { event, id: member, data, revision } of heard.all) {
        if (revision <= list.revision) continue;
        // The list of an empty room has no revision to skip by: what was heard before it is told
        // again, leaves of unknown members among it, and comes to the same in the end.
        if (list.revision > 0) expect(members.has(member)).toBe(event !== 'join');
        if (event === 'leave') members.delete(member);
        else members.set(member, data);
      }
      expect(members).toEqual(new Map(truth.map((member) => [member.id, member.data])));
    }
  });
});

test('each test is on two nodes', async () => {
  expect([(await connect(1)).node, (await connect(2)).node]).toEqual(['n1', 'n2']);
  expect(new Set(inject('stack').urls).size).toBe(2);
});
