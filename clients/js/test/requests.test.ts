import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Requests } from '../src/requests';
import { client, connected, failure, ScriptedSocket, settled } from './scripted-socket';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('a request is the envelope of the protocol, with a fresh ackId each', async () => {
  const frames: any[] = [];
  const requests = new Requests(1_000);
  requests.open((text) => frames.push(JSON.parse(text)));
  void requests.request('room:presence:join', { roomId: 'myRoom' }, { payload: { field: 'userData', text: '{"a":1}' } });
  void requests.request('room:presence:join', { roomId: 'myRoom' }, { payload: { field: 'userData', text: undefined } });
  void requests.request('nothing', {}, { payload: { field: 'data', text: '0' } });
  expect(frames).toEqual([
    { type: 'ds:client:room:presence:join', body: { roomId: 'myRoom', userData: { a: 1 } }, ackId: expect.any(String) },
    { type: 'ds:client:room:presence:join', body: { roomId: 'myRoom' }, ackId: expect.any(String) },
    { type: 'ds:client:nothing', body: { data: 0 }, ackId: expect.any(String) },
  ]);
  expect(new Set(frames.map(({ ackId }) => ackId)).size).toBe(3);
});

test('acknowledgements in any order settle the requests they are for', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  ScriptedSocket.answer = () => null;
  const first = room.publish('message', 1);
  const second = room.publish('message', 2);
  const [one, two] = socket.sent.slice(-2);
  socket.acknowledge(two!, { data: 'two' });
  socket.acknowledge(one!, { data: 'one' });
  expect(await Promise.all([first, second])).toEqual(['one', 'two']);
  expect(vi.getTimerCount()).toBe(0);
});

test('without an answer it rejects with `timeout` after 10 s; the answer that comes later is dropped', async () => {
  const { relayBox, socket } = await connected();
  ScriptedSocket.answer = () => null;
  const joining = failure(relayBox.join('myRoom'));
  vi.advanceTimersByTime(9_999);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(1);
  // Whether the socket lives at all is then found out.
  expect(socket.types).toEqual(['room:join', 'auth:user:unsubscribe']);
  expect(await joining).toMatchObject({ name: 'TimeoutError', code: 'timeout', retry: true, message: 'room:join was not answered within 10000 ms' });
  socket.acknowledge(socket.sent[0]!, { data: 'app1:myRoom' });
  expect(vi.getTimerCount()).toBe(0);
});

test('the deadline is an option', async () => {
  const { relayBox } = await connected({ timeouts: { requestMs: 200 } });
  ScriptedSocket.answer = () => null;
  const creating = failure(relayBox.create('myRoom'));
  vi.advanceTimersByTime(200);
  expect(await creating).toMatchObject({ code: 'timeout' });
});

test('whatever waits when the socket is lost and not back in time rejects with `disconnected`, also what waits for a room', async () => {
  const { relayBox, socket } = await connected();
  ScriptedSocket.answer = () => null;
  const room = relayBox.join('myRoom');
  const waiting = [
    failure(room), failure(room.presence.join()), failure(room.presence.get()), failure(room.presence.subscribe(() => {})),
    failure(room.publish('message', 1)), failure(relayBox.create('other')), failure(room.leave()),
  ];
  socket.end(1011, 'internal');
  vi.advanceTimersByTime(10_000);
  for (const one of waiting) expect(await one).toMatchObject({ name: 'DisconnectedError', code: 'disconnected', retry: true });
  relayBox.disconnect();
  expect(vi.getTimerCount()).toBe(0);
});

test('without a connection a request rejects at once', async () => {
  const relayBox = client();
  expect(await failure(relayBox.join('myRoom'))).toMatchObject({ code: 'disconnected', retry: true });
  expect(await failure(relayBox.create('myRoom'))).toMatchObject({ code: 'disconnected' });
});

test('requests made while the first connection is being made wait for it, in order', async () => {
  const relayBox = client();
  const connecting = relayBox.connect();
  const joined = relayBox.join('myRoom');
  const created = relayBox.create('other');
  const socket = ScriptedSocket.last;
  expect(socket.sent).toEqual([]);
  socket.hello();
  await Promise.all([connecting, joined, created]);
  expect(socket.types).toEqual(['room:join', 'room:create']);
});

test('and fail with it', async () => {
  const relayBox = client();
  const connecting = failure(relayBox.connect());
  const room = relayBox.join('myRoom');
  const [joined, called] = [failure(room), failure(room.presence.join())];
  ScriptedSocket.last.onerror?.({ message: 'Unexpected server response: 401' });
  ScriptedSocket.last.end();
  expect(await joined).toBe(await connecting);
  expect(await called).toBe(await connecting);
  expect(await joined).toMatchObject({ code: 'unauthorized' });
});

test("an error acknowledgement becomes a RelayBoxError with all that it says", async () => {
  const { relayBox } = await connected();
  const err = {
    name: 'RateLimitError', message: 'too many joins: 30 in 5 s', status: 429, code: 'rate_limited',
    field: 'roomId', limit: 30, retry: true, retryAfterMs: 1_200,
  };
  ScriptedSocket.answer = () => ({ err });
  const error = await failure(relayBox.create('myRoom'));
  expect(error).toBeInstanceOf(Error);
  expect({ ...error, message: error.message }).toEqual(err);
});

test('a server that sends only a name and a message is understood too', async () => {
  const { relayBox } = await connected();
  ScriptedSocket.answer = () => ({ err: { name: 'ForbiddenError', message: 'no' } });
  expect(await failure(relayBox.create('myRoom'))).toMatchObject({ name: 'ForbiddenError', message: 'no', code: 'forbidden', status: undefined, retry: false });
  ScriptedSocket.answer = () => ({ err: {} });
  expect(await failure(relayBox.create('myRoom'))).toMatchObject({ name: 'Error', code: 'unknown' });
});

test('`err: null` is success', async () => {
  const { relayBox } = await connected();
  ScriptedSocket.answer = () => ({ data: { id: 'myRoom' }, err: null } as never);
  expect(await relayBox.create('myRoom')).toEqual({ id: 'myRoom' });
});

test('a close with 1009 is the fault of the largest request under way: only the others may be tried again', async () => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  ScriptedSocket.answer = () => null;
  const small = failure(room.publish('message', 1));
  const large = failure(room.publish('message', 'x'.repeat(300_000)));
  socket.end(1009, 'message too big');
  expect(await large).toMatchObject({ name: 'PayloadTooLargeError', code: 'too_large', status: 413, retry: false });
  vi.advanceTimersByTime(10_000);
  expect(await small).toMatchObject({ code: 'disconnected', retry: true });
  relayBox.disconnect();
});

test.each([
  ['a cycle', (): unknown => { const it: any = {}; it.it = it; return it; }],
  ['a BigInt', (): unknown => 1n],
  ['a function', (): unknown => () => {}],
  ['a symbol', (): unknown => Symbol('x')],
  ['a toJSON that throws', (): unknown => ({ toJSON() { throw new Error('mine'); } })],
])('data that is %s is refused before anything is sent', async (_, make) => {
  const { relayBox, socket } = await connected();
  const room = await relayBox.join('myRoom');
  const before = socket.sent.length;
  const data = make() as object;
  for (const call of [() => room.presence.join(data), () => room.presence.update(data), () => room.presence.leave(data), () => room.publish('message', data)]) {
    expect(await failure(call())).toMatchObject({ name: 'ValidationError', code: 'invalid', field: 'data', status: 400 });
  }
  await settled();
  expect(socket.sent).toHaveLength(before);
});

test('data is what it was when the call was made', async () => {
  const { relayBox, socket } = await connected();
  const data = { n: 1 };
  const joining = relayBox.join('myRoom').presence.join(data);
  data.n = 2;
  await joining;
  expect(socket.sent.at(-1)?.body['userData']).toEqual({ n: 1 });
});
