import { afterEach, beforeEach, expect, test, vi } from 'vitest';

// strings.js asks the document for its language.
vi.stubGlobal('document', { documentElement: { lang: 'en' } });
const { Announcer, summary } = await import('../../announce.js');

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function announcer() {
  const said = [];
  return { said, others: new Announcer({ speak: (text) => said.push(text) }, () => 21) };
}

test.each([
  [['Dina'], [], 'Dina joined.'],
  [['Dina'], ['Zoë'], 'Dina joined. Zoë left.'],
  [['a', 'b', 'c'], ['d'], '3 joined, 1 left. 21 here.'],
])('%j joined and %j left is told as %j', (joined, left, text) => {
  expect(summary(joined, left, 21)).toBe(text);
});

test('those who come together are told together, one second after the first', () => {
  const { said, others } = announcer();
  others.joined('Dina');
  vi.advanceTimersByTime(900);
  others.joined('Bo');
  expect(said).toEqual([]);
  vi.advanceTimersByTime(100);
  expect(said).toEqual(['Dina joined. Bo joined.']);
});

test('a hundred joins in two seconds are at most two texts', () => {
  const { said, others } = announcer();
  for (let i = 0; i < 100; i++) {
    others.joined(`n${i}`);
    vi.advanceTimersByTime(20);
  }
  vi.advanceTimersByTime(10_000);
  expect(said.length).toBe(2);
});

test('after a text the next one waits until five seconds have passed', () => {
  const { said, others } = announcer();
  others.joined('a');
  vi.advanceTimersByTime(1000);
  others.left('a');
  vi.advanceTimersByTime(4900);
  expect(said).toEqual(['a joined.']);
  vi.advanceTimersByTime(100);
  expect(said).toEqual(['a joined.', 'a left.']);
});

test('switched off it says nothing', () => {
  const { said, others } = announcer();
  others.enabled = false;
  others.joined('a');
  vi.advanceTimersByTime(10_000);
  expect(said).toEqual([]);
});
