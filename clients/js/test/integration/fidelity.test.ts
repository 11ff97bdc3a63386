// Data arrives, and is listed, as it was sent: seen through the SDK as values, and on the
// socket itself as text, byte for byte.

import { once } from 'node:events';
import { expect, inject, test } from 'vitest';
import WebSocket from 'ws';
import { connect, freshRoom, Heard, presenceOf } from './clients';

const values: [string, unknown][] = [
  ['null', null], ['false', false], ['true', true], ['zero', 0], ['a number', -12.5e-7], ['the largest safe integer', 9007199254740991],
  ['the smallest number', 5e-324], ['the largest number', 1.7976931348623157e308],
  ['empty text', ''], ['text', 'Grüße, 你好, مرحبا, 👩‍👩‍👧‍👦'], ['escapes', '"\\/\b\f\n\r\t\u0000\u001f\u007f\u2028\u2029'], ['markup', '</script><img onerror="x">'],
  ['an empty list', []], ['an empty object', {}], ['nested', [[], [[]], {}, { a: {} }, [null]]],
  ['empty in empty', { list: [], object: {}, text: '', none: null }],
  ['keys in their order', { b: 1, a: 2, '': 3, ' ': 4, 'é': 5, '10': 6 }],
  ['names with a meaning elsewhere', JSON.parse('{"__proto__":{"x":1},"constructor":1,"toString":2,"then":3,"$":4,"revision":5,"event":"leave","data":{"id":6}}')],
  ['30 levels', JSON.parse('['.repeat(29) + '1' + ']'.repeat(29))],
  ['16 KiB', 'x'.repeat(16_382)],
];

test.each(values)('%s: in presence, in the list, in messages', async (_, value) => {
  const id = freshRoom();
  const text = JSON.stringify(value);
  const watcher = await (await connect(2)).join(id);
  const heard = await presenceOf(watcher);
  const messages = new Heard<any>();
  await watcher.subscribe('value', messages.push);
  const room = await (await connect(1, { clientId: 'ana' })).join(id);
  await room.presence.join(value as object);
  const [joined] = await heard.first(1);
  expect(JSON.stringify(joined.data)).toBe(text);
  expect(JSON.stringify((await watcher.presence.get())[0]?.data)).toBe(text);
  await room.presence.update(value as object);
  await room.presence.leave(value as object);
  expect((await heard.first(3)).map(({ data }) => JSON.stringify(data))).toEqual([text, text, text]);
  expect(JSON.stringify((await room.publish('value', value as object)).body)).toBe(text);
  expect(JSON.stringify((await messages.first(1))[0].body)).toBe(text);
});

test('absent data is absent, not null and not {}', async () => {
  const id = freshRoom();
  const watcher = await (await connect(2)).join(id);
  const heard = await presenceOf(watcher);
  const room = await (await connect(1, { clientId: 'ana' })).join(id);
  await room.presence.join();
  await room.presence.join(undefined);
  const [member] = await watcher.presence.get();
  await room.presence.leave();
  for (const one of [...(await heard.first(3)), member]) expect('data' in one).toBe(false);
});

// What JavaScript's own JSON can't spell.
const texts = [
  '0.00', '-0', '1E5', '1e+5', '0.1234567890123456789', '12345678901234567890123456789', '1e999',
  '"\\u00e9\\/\\ud83d\\ude00"', '{"a":1.0,"b":[0.10,{"c":-0.0}]}', '{"latitude":0.00,"longitude":0.010}',
];

test.each(texts)('the text %s stays as it is on the socket', async (text) => {
  const id = freshRoom();
  const { urls, apiKey } = inject('stack');
  const watcher = new WebSocket(`${urls[1]}?apiKey=${encodeURIComponent(apiKey)}`);
  const frames = new Heard<string>();
  watcher.on('message', (data) => frames.push(String(data)));
  await once(watcher, 'open');
  const ask = async (type: string, fields: object): Promise<string> => {
    const ackId = `${type}${Math.random()}`;
    watcher.send(JSON.stringify({ type: `ds:client:room:${type}`, body: { roomId: id, ...fields }, ackId }));
    return (await frames.until((all) => all.some((frame) => frame.includes(ackId)))).find((frame) => frame.includes(ackId))!;
  };
  await ask('join', {});
  await ask('presence:subscribe', { event: 'join' });

  const member = new WebSocket(`${urls[0]}?apiKey=${encodeURIComponent(apiKey)}&clientId=ana`);
  await once(member, 'open');
  member.send(JSON.stringify({ type: 'ds:client:room:join', body: { roomId: id }, ackId: '1' }));
  // White space between tokens may go, and nothing else.
  member.send(`{"type":"ds:client:room:presence:join","body":{"roomId":"${id}","userData": ${text.replaceAll(',', ' , ')} },"ackId":"2"}`);

  const type = `sdktests:${id}:$:presence:join`;
  const event = (await frames.until((all) => all.some((frame) => frame.includes(type) && frame.includes('"event"')))).find((frame) => frame.includes('"event"'))!;
  expect(event).toContain(`"data":${text}`);
  expect(await ask('presence:get', {})).toContain(`"data":${text}`);
  member.close();
  watcher.close();
  await Promise.all([once(member, 'close'), once(watcher, 'close')]);
});
