// Never run, only compiled: what must compile, and what must not. An error that is expected
// and does not come is one, so that a type that became too loose fails here.
// The package is imported by its name, so that these are the types that users get.

import DefaultRelayBox, {
  RelayBox,
  RelayBoxError,
  type ConnectionInfo,
  type JoiningRoom,
  type Member,
  type MemberList,
  type Members,
  type MembersChange,
  type Message,
  type PresenceEvent,
  type PresentMember,
  type Restored,
  type Room,
  type Unsubscribe,
} from '@relaybox/client';
import WebSocket from 'ws';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(..._proof: Equal<A, B> extends true ? [] : [never]): void => {};

interface Position {
  latitude: number;
  longitude: number;
}

export async function compiles(): Promise<void> {
  same<typeof DefaultRelayBox, typeof RelayBox>();
  const relayBox = new RelayBox({ apiKey: 'a.b:c', clientId: 123 });
  new RelayBox({ apiKey: 'a.b:c', clientId: 'ana', url: 'ws://localhost:9000/core', WebSocket });
  new RelayBox({ apiKey: 'a.b:c', clientId: undefined, WebSocket: globalThis.WebSocket });
  new RelayBox({ apiKey: 'a.b:c', WebSocket: WebSocket as unknown as typeof globalThis.WebSocket });
  new RelayBox({ apiKey: 'a.b:c', offline: { enabled: true, port: 9001, coreServiceUrl: 'ws://localhost/core' } });
  new RelayBox({ apiKey: 'a.b:c', timeouts: { connectMs: 1, requestMs: 1 }, reconnect: { baseMs: 1, capMs: 1, attempts: 1 } });

  const info = await relayBox.connect();
  same<typeof info, ConnectionInfo>();
  same<typeof relayBox.connectionId, string | undefined>();

  const joining = relayBox.join('myRoom');
  same<typeof joining, JoiningRoom>();
  const room = await joining;
  same<typeof room, Room>();
  const asPromise: PromiseLike<Room> = joining;
  const asRoom: Room = joining;
  void [asPromise, asRoom];

  await room.presence.join();
  await room.presence.join(null);
  await room.presence.join([1, 'a', { b: false }]);
  const position: Position = { latitude: 0, longitude: 0.01 };
  await room.presence.update(position);
  await room.presence.leave();
  await room.presence.leave('bye');

  const undo = await room.presence.subscribe('join', (data) => {
    same<typeof data, PresenceEvent<unknown>>();
  });
  same<typeof undo, Unsubscribe>();
  const onPosition = (event: PresenceEvent<Position>): void => void event.data?.latitude;
  await room.presence.subscribe('update', onPosition);
  await room.presence.subscribe(onPosition);
  await room.presence.subscribe<Position>('update', ({ data }) => void data?.longitude);
  await room.presence.unsubscribe();
  await room.presence.unsubscribe('update');
  await room.presence.unsubscribe('update', onPosition);
  await room.presence.unsubscribe(onPosition);

  const members = await room.presence.get<Position>({ limit: 10 });
  same<typeof members, MemberList<Position>>();
  const first: Member<Position> | undefined = members[0];
  const revision: number = members.revision;
  void [first, revision];
  same<Awaited<ReturnType<typeof room.presence.getCount>>, number>();

  const map = room.presence.members as Members<Position>;
  const ready = await map.ready();
  same<typeof ready, Members<Position>>();
  const asMap: ReadonlyMap<string, PresentMember<Position>> = map;
  for (const [id, { clientId, data }] of map) void [id.length, clientId.length, data?.latitude];
  const stop: () => void = map.onChange(({ joined, updated, left }, all) => void [joined[0]?.data?.latitude, updated.length, left.length, all.size, all.live]);
  room.presence.members.onChange((change) => same<typeof change, MembersChange<unknown>>());
  const joiningMap: Members = joining.presence.members;
  await map.close();
  void [asMap, stop, joiningMap];

  const onMessage = (message: Message<Position>): void => void message.body.latitude;
  await room.subscribe('message', onMessage);
  await room.subscribe((message) => void message.sender.clientId?.length);
  await room.unsubscribe('message', onMessage);
  await room.unsubscribe(onMessage);
  await room.unsubscribe();
  const message = await room.publish('message', { hello: 'universe' });
  same<typeof message, Message<{ hello: string }>>();
  await room.leave();
  await relayBox.create('myRoom', { visibility: 'public' });

  const off: () => void = relayBox.connection.on('reconnecting', (attempt, delayMs) => void (attempt + delayMs));
  relayBox.connection.once('connect', ({ node }) => void node?.length);
  relayBox.connection.on('reconnected', (attempts, { resumed, rooms, memberships }) => void [attempts + 1, resumed, rooms[0], memberships[0]]);
  relayBox.connection.on('reconnected', (_, restored) => same<typeof restored, Restored>());
  relayBox.connection.on('suspended', () => {});
  relayBox.connection.on('offline', () => {});
  relayBox.connection.on('error', (error) => same<typeof error, RelayBoxError>());
  relayBox.connection.off('connect');
  relayBox.connection.off();
  off();
  relayBox.disconnect();
}

export async function doesNotCompile(relayBox: RelayBox, room: Room): Promise<void> {
  // @ts-expect-error -- an API key is needed
  new RelayBox({ clientId: 123 });
  // @ts-expect-error -- options are needed
  new RelayBox();
  // @ts-expect-error -- no such option
  new RelayBox({ apiKey: 'a.b:c', clientID: 123 });
  // @ts-expect-error -- a client is a text or a number
  new RelayBox({ apiKey: 'a.b:c', clientId: true });
  // @ts-expect-error -- not a WebSocket
  new RelayBox({ apiKey: 'a.b:c', WebSocket: class {} });
  // @ts-expect-error -- a room has a name
  relayBox.join();
  // @ts-expect-error -- which is text
  relayBox.join(5);
  // @ts-expect-error -- an update has data
  void room.presence.update();
  // @ts-expect-error -- and undefined is none
  void room.presence.update(undefined);
  // @ts-expect-error -- a BigInt has no JSON form
  void room.presence.join(1n);
  // @ts-expect-error -- nor has a symbol
  void room.presence.join(Symbol('x'));
  // @ts-expect-error -- there are three events
  void room.presence.subscribe('enter', () => {});
  // @ts-expect-error -- a subscription has a handler
  void room.presence.subscribe('join');
  // @ts-expect-error -- the handler takes an event
  void room.presence.subscribe('join', (event: number) => event);
  // @ts-expect-error -- the limit is a number
  void room.presence.get({ limit: '10' });
  // @ts-expect-error -- a message has data
  void room.publish('message');
  // @ts-expect-error -- a message has an event
  void room.publish({ hello: 'universe' });
  // @ts-expect-error -- messages have a handler
  void room.subscribe('message');
  // @ts-expect-error -- what await gives is a room, not a promise
  void room.then(() => {});
  // @ts-expect-error -- no such event
  relayBox.connection.on('connected', () => {});
  // @ts-expect-error -- `reconnected` tells the attempts
  relayBox.connection.on('reconnected', (attempts: string) => attempts);
  // @ts-expect-error -- the map is read, not written
  room.presence.members.set('a', {});
  // @ts-expect-error -- nor are its members
  room.presence.members.get('a')!.data = 1;
  // @ts-expect-error -- the secret is nobody's business
  void relayBox.connection.resumeSecret;
  // @ts-expect-error -- facts are read, not set
  relayBox.connection.node = 'n3';
  // @ts-expect-error -- the list's revision, too
  (await room.presence.get()).revision = 5;
  // @ts-expect-error -- what only the SDK calls is not shown
  relayBox.connection.report(new Error());
}
