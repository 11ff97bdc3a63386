import { expect, test } from 'vitest';
import { hash, initials, looks } from '../../avatar.js';

test('the hash is the one of the style page, over code points', () => {
  expect(hash('ada')).toBe(hash('ada'));
  expect(hash('👩')).not.toBe(hash('👨'));
  expect(new Set(['ada', 'bo', 'cy', 'dina', 'иван', 'zoë'].map((id) => hash(id) % 12)).size).toBe(6);
});

test.each([
  ['Ada Okafor', 'x', 'AO'], ['Иван Петров', 'x', 'ИП'], ['zoë', 'x', 'Z'], ['', 'bo lind', 'BL'], ['  ', '', ''],
  ['👩‍👩‍👧 Family', 'x', '👩‍👩‍👧F'], ['محمد علي حسن', 'x', 'مح'], ['<img onerror>', 'x', '<O'],
])('the initials of %j (%j) are %j', (name, id, want) => {
  expect(initials(name, id)).toBe(want);
});

// Contrast of white on an oklch colour, by way of linear sRGB.
function contrastWithWhite(css) {
  const [L, C, H] = /oklch\(([\d.]+) ([\d.]+) (\d+)\)/.exec(css).slice(1).map(Number);
  const a = C * Math.cos((H * Math.PI) / 180), b = C * Math.sin((H * Math.PI) / 180);
  const [l, m, s] = [L + 0.3963377774 * a + 0.2158037573 * b, L - 0.1055613458 * a - 0.0638541728 * b, L - 0.0894841775 * a - 1.291485548 * b].map((v) => v ** 3);
  const clip = (v) => Math.min(1, Math.max(0, v));
  const y = 0.2126 * clip(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s) + 0.7152 * clip(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s) + 0.0722 * clip(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s);
  return 1.05 / (y + 0.05);
}

test('white initials have a contrast of at least 4.5 on every colour there is', () => {
  const colours = new Set();
  for (let i = 0; i < 3000; i++) {
    const { one, two } = looks(`client-${i}`);
    colours.add(one).add(two);
  }
  expect(colours.size).toBe(24);
  for (const colour of colours) expect(contrastWithWhite(colour), colour).toBeGreaterThanOrEqual(4.5);
});

test('a face is the same each time and differs between clients', () => {
  expect(looks('ada')).toEqual(looks('ada'));
  const faces = new Set(Array.from({ length: 200 }, (_, i) => JSON.stringify(looks(`user${i}`))));
  expect(faces.size).toBeGreaterThan(120);
});
