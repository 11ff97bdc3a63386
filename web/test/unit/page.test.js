import { readdirSync, readFileSync } from 'node:fs';
import { brotliCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);
const read = (name) => readFileSync(new URL(name, root), 'utf8');
const files = ['', 'room/', 'fleet/'].flatMap((dir) => readdirSync(new URL(`./${dir}`, root)).filter((f) => f.endsWith('.js')).map((f) => dir + f));
const own = files.filter((f) => f !== 'sdk.js');

test('every text that is asked for exists, and every text is asked for', () => {
  const strings = read('strings.js');
  const keys = new Set([...strings.slice(0, strings.indexOf('\n};')).matchAll(/(?:^|,)\s*(\w+): (?:'|\{)/gm)].map((m) => m[1]));
  keys.delete('one');
  keys.delete('other');
  const code = own.map(read).join('\n');
  const asked = new Set([...code.matchAll(/(?:say|parts)\('(\w+)'/g)].map((m) => m[1]));
  for (const key of asked) expect(keys, `say('${key}')`).toContain(key);
  const unused = [...keys].filter((key) => !new RegExp(`'${key}'`).test(code) && !/^note(Cut|Lost)Grace$/.test(key));
  expect(unused).toEqual([]);
});

test('no text stands in the code: all are in strings.js', () => {
  for (const file of own.filter((f) => f !== 'strings.js')) {
    const found = [...read(file).matchAll(/(?:text|title|'aria-label'): '([^']*[a-z]{3}[^']*)'/g)].map((m) => m[1]);
    expect(found, file).toEqual([]);
  }
});

test('the page needs nothing from elsewhere and has no inline script or style', () => {
  const html = read('index.html');
  expect(html).not.toMatch(/https?:/);
  expect(html).not.toMatch(/<style|style=|onclick|<script(?![^>]*src=)/);
  for (const file of own) {
    const code = read(file).replace(/'http:\/\/www\.w3\.org\/2000\/svg'/g, '');
    expect(code, file).not.toMatch(/https?:\/\/[a-z]/);
    expect(code, file).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/);
    for (const [, from] of code.matchAll(/from '([^']+)'/g)) {
      if (!code.includes(`"import { RelayBox } from '${from}';"`)) expect(from, file).toMatch(/^\.\.?\//);
    }
  }
});

test.each([['room', 'fleet/'], ['fleet', 'room/']])('the %s with the SDK is at most 60 kB', (view, without) => {
  const all = [...files, 'index.html', 'css/tokens.css', 'css/base.css', 'css/room.css', 'css/fleet.css', 'favicon.svg'].filter((f) => !f.startsWith(without));
  const bytes = all.reduce((sum, f) => sum + brotliCompressSync(readFileSync(new URL(f, root))).length, 0);
  console.log(`${view}: ${bytes} bytes of brotli in ${all.length} files`);
  expect(bytes).toBeLessThanOrEqual(60_000);
});
