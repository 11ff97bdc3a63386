import { expect, inject, test } from 'vitest';
import WebSocket from 'ws';
import { expected } from '../page/expected';
import { forms } from '../page/forms.mjs';

const { urls, apiKey } = inject('stack');
const [here, there] = urls.map((url) => ({ url, apiKey, WebSocket }));

test.each(Object.keys(forms))('%s', async (name) => {
  expected[name]!(await (forms as any)[name]({ here, there }));
});

test('each form has its expectation', () => {
  expect(Object.keys(expected)).toEqual(Object.keys(forms));
});
