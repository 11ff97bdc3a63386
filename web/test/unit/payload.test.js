import { expect, test } from 'vitest';
import { bodyOf, layout, tokens } from '../../room/payload.js';

const text = (json) => layout(tokens(json)).map(([, t]) => t).join('');
const squeezed = (json) => layout(tokens(json)).filter(([kind]) => kind !== 'space').map(([, t]) => t).join('');

test.each([
  '{"a":0.00,"b":1e3,"c":12345678901234567890,"d":-0.5E-7}',
  '{"text":"a \\"quoted\\" {brace}, \\u0041 \\\\","empty":{},"list":[],"deep":{"a":[1,[2,{"b":null}]]}}',
  '[]', '{}', '"just text"', 'null', 'true', '{"عربي":"👩‍👩‍👧"}',
])('%s keeps every character but the white space', (json) => {
  expect(squeezed(json)).toBe(json);
});

test('a short object is one line, a long one is broken between its fields', () => {
  expect(text('{"a":1,"b":[1,2]}')).toBe('{ "a": 1, "b": [1, 2] }');
  const long = `{"first":"${'x'.repeat(30)}","second":"${'y'.repeat(30)}"}`;
  expect(text(long)).toBe(`{ "first": "${'x'.repeat(30)}",\n  "second": "${'y'.repeat(30)}" }`);
});

test('the kinds are told apart', () => {
  expect(tokens('{"k":"v","n":-1,"t":true}').filter(([k]) => k !== 'mark')).toEqual([['key', '"k"'], ['text', '"v"'], ['key', '"n"'], ['number', '-1'], ['key', '"t"'], ['word', 'true']]);
});

test('the body of a frame is cut out as it stands', () => {
  expect(bodyOf('{"type":"a:b:$:presence:join","body":{"event":"join","data":{"n":0.00},"revision":7}}')).toBe('{"event":"join","data":{"n":0.00},"revision":7}');
});
