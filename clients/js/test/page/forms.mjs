// Every call form of the documentation page, in its order and spelling, on two nodes. The same
// file runs in Node and in a browser, imported by the package's name. Each form returns what was
// seen, as JSON; expected.ts says what that must be.
//
// env: `here`, the options of the page's connection on node n1; `there`, those of a connection on n2.

import { RelayBox } from '@relaybox/client';

/** Someone on the other node who watches the room, without a clientId. */
async function watch({ there }) {
  const relayBox = new RelayBox(there);
  await relayBox.connect();
  const room = await relayBox.join('myRoom');
  const events = [];
  let wake = () => {};
  await room.presence.subscribe((event) => {
    events.push(event);
    wake();
  });
  return {
    node: relayBox.node,
    events,
    /** The events so far, once there are so many. */
    async first(count) {
      while (events.length < count) await new Promise((resolve) => (wake = resolve));
      return events;
    },
    stop: () => relayBox.disconnect(),
  };
}

/** Connects as the page does, runs `form`, and waits until the other node has seen `count` events. */
async function seenThere(env, count, form) {
  const observer = await watch(env);
  const relayBox = new RelayBox({ ...env.here, clientId: 123 });
  await relayBox.connect();
  await form(relayBox);
  const events = structuredClone(await observer.first(count));
  const { connectionId, clientId, node } = relayBox;
  relayBox.disconnect();
  // A member that is still there leaves with its connection: the next form begins in an empty room.
  if (events.at(-1).event !== 'leave') await observer.first(count + 1);
  const last = observer.events.slice(count);
  observer.stop();
  return { connectionId, clientId, nodes: [node, observer.node], events, last };
}

export const forms = {
  async 'new RelayBox({ apiKey, clientId: 123 }) and connect()'({ here }) {
    const relayBox = new RelayBox({
      ...here,
      // A number or a text: without one, a connection can watch and not be present.
      clientId: 123
    });

    const info = await relayBox.connect();

    const { connectionId, clientId, node, graceMs } = relayBox;
    relayBox.disconnect();
    return { info, properties: { connectionId, clientId, node, graceMs } };
  },

  'join() not awaited, presence.join()': (env) =>
    seenThere(env, 1, async (relayBox) => {
      const myRoom = relayBox.join('myRoom');

      await myRoom.presence.join();
    }),

  'join() not awaited, presence.join(userData)': (env) =>
    seenThere(env, 1, async (relayBox) => {
      const myRoom = relayBox.join('myRoom');

      const userData = {
        username: 'Grace'
      };

      await myRoom.presence.join(userData);
    }),

  async "await join(), await presence.subscribe('join', fn)"({ here, there }) {
    const relayBox = new RelayBox({ ...here, clientId: 123 });
    await relayBox.connect();
    const other = new RelayBox({ ...there, clientId: 'bob' });
    await other.connect();
    const received = [];

    const myRoom = await relayBox.join('myRoom');

    await myRoom.presence.subscribe('join', (data) => {
      received.push(data);
      arrived();
    });

    let arrived;
    const arrival = new Promise((resolve) => (arrived = resolve));
    await other.join('myRoom').presence.join({ username: 'Bob' });
    await arrival;
    const left = new Promise((resolve) => void myRoom.presence.subscribe('leave', resolve).then(() => other.disconnect()));
    const connectionId = other.connectionId;
    await left;
    const nodes = [relayBox.node, 'n2'];
    relayBox.disconnect();
    return { connectionId, nodes, received };
  },

  'await join(), presence.update(userData)': (env) =>
    seenThere(env, 2, async (relayBox) => {
      await relayBox.join('myRoom').presence.join();
      const myRoom = await relayBox.join('myRoom');
      const myroom = myRoom; // the page writes it both ways

      const userData = {
        registration: 'AB12 CDE',
        latitude: 0.00,
        longitude: 0.01
      };

      await myroom.presence.update(userData);
    }),

  'join() not awaited, presence.leave()': (env) =>
    seenThere(env, 2, async (relayBox) => {
      await relayBox.join('myRoom').presence.join({ username: 'Grace' });
      const myRoom = relayBox.join('myRoom');

      await myRoom.presence.leave();
    }),

  'join() not awaited, leave()': (env) =>
    seenThere(env, 2, async (relayBox) => {
      await relayBox.join('myRoom').presence.join({ username: 'Grace' });
      const myRoom = relayBox.join('myRoom');

      // The room's end is the membership's end.
      await myRoom.leave();
    }),

  async 'all of them in order, on one connection'(env) {
    const own = [];
    let arrived;
    const arrival = new Promise((resolve) => (arrived = resolve));
    const result = await seenThere(env, 6, async (relayBox) => {
      {
        const myRoom = relayBox.join('myRoom');
        await myRoom.presence.join();
      }
      {
        const myRoom = relayBox.join('myRoom');
        const userData = { username: 'Grace' };
        await myRoom.presence.join(userData);
      }
      {
        const myRoom = await relayBox.join('myRoom');
        await myRoom.presence.subscribe('join', (data) => {
          own.push(data);
          arrived();
        });
      }
      {
        const myRoom = await relayBox.join('myRoom');
        const userData = { registration: 'AB12 CDE', latitude: 0.00, longitude: 0.01 };
        await myRoom.presence.update(userData);
      }
      {
        const myRoom = relayBox.join('myRoom');
        await myRoom.presence.leave();
        await myRoom.presence.join('back');
        await arrival; // leaving ends the subscription, also for what is on its way
      }
      {
        const myRoom = relayBox.join('myRoom');
        await myRoom.leave();
      }
    });
    return { ...result, own };
  },
};
