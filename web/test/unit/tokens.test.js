import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const css = readFileSync(new URL('../../css/tokens.css', import.meta.url), 'utf8');

function tokensOf(selector) {
  const block = css.slice(css.indexOf(selector)).split('}')[0];
  return Object.fromEntries([...block.matchAll(/--([\w-]+):\s*(#[0-9A-Fa-f]{6});/g)].map(([, name, value]) => [name, value]));
}

function luminance(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

const grounds = ['bg', 'surface', 'sunken'];
const text = ['ink', 'ink-2', 'ink-3', 'present', 'grace', 'left', 'update', 'danger'].flatMap((t) => grounds.map((g) => [t, g]));
const onSoft = ['present', 'grace', 'update', 'danger'].map((t) => [t, `${t}-soft`]);
const inkOnSoft = ['present', 'grace', 'update', 'danger', 'left'].flatMap((t) => [['ink', `${t}-soft`], ['ink-2', `${t}-soft`]]);
const buttons = [['on-ink', 'ink'], ['on-ink', 'ink-2'], ['on-danger', 'danger']];
const map = ['map-land', 'map-block', 'map-water', 'map-park'].map((g) => ['map-label', g]);
const borders = ['line-strong', 'focus'].flatMap((t) => grounds.map((g) => [t, g]));

describe.each([['light', ':root {'], ['dark', '[data-theme="dark"]']])('%s', (_, selector) => {
  const tokens = tokensOf(selector);
  test.each([...text, ...onSoft, ...inkOnSoft, ...buttons, ...map])('text %s on %s has a contrast of at least 4.5', (fore, ground) => {
    expect(contrast(tokens[fore], tokens[ground])).toBeGreaterThanOrEqual(4.5);
  });
  test.each(borders)('%s on %s has a contrast of at least 3', (fore, ground) => {
    expect(contrast(tokens[fore], tokens[ground])).toBeGreaterThanOrEqual(3);
  });
});

test('both themes have the same tokens', () => {
  expect(Object.keys(tokensOf('[data-theme="dark"]')).sort()).toEqual(Object.keys(tokensOf(':root {')).sort());
});
