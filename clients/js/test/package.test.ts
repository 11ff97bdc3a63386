// The package as it is published, and the demo page's copy of it.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const manifest = JSON.parse(read('package.json')) as Record<string, any>;

/** Runs a program in a Node of its own, as a user's would be, with this package found by its name. */
const node = (type: string, text: string): string =>
  execFileSync(process.execPath, [`--input-type=${type}`, '--eval', text], { cwd: root, encoding: 'utf8' }).trim();

test('there is no runtime dependency, and no script runs at its installation', () => {
  for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies', 'bundledDependencies']) expect(manifest[kind]).toBeUndefined();
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare']) expect(manifest['scripts'][script]).toBeUndefined();
});

test('the files import nothing', () => {
  for (const path of ['dist/index.mjs', 'dist/index.cjs', 'dist/index.d.mts', 'dist/index.d.cts']) {
    expect(read(path)).not.toMatch(/^\s*(import|export)\b.*\bfrom\b|\brequire\(|\bimport\(|["']node:/m);
  }
});

test('the lockfile names no host', () => {
  expect(read('package-lock.json')).not.toMatch(/"resolved"|https?:\/\/(?!.*(opencollective|github\.com\/sponsors|tidelift|paulmillr|patreon|eslint|feross|ko-fi|thanks|sponsor|funding))/);
});

test('import gives RelayBox by name and as the default, and RelayBoxError', () => {
  const text = `import Default, * as all from '@relaybox/client'; console.log(Object.keys(all).sort().join(), Default === all.RelayBox)`;
  expect(node('module', text)).toBe('RelayBox,RelayBoxError,default true');
});

test('require gives the same', () => {
  const text = `const all = require('@relaybox/client'); console.log(Object.keys(all).sort().join(), all.default === all.RelayBox)`;
  expect(node('commonjs', text)).toBe('RelayBox,RelayBoxError,default true');
});

test('only what is built is published', () => {
  expect(manifest['files']).toEqual(['dist']);
  expect(manifest['exports']['.']).toEqual({
    import: { types: './dist/index.d.mts', default: './dist/index.mjs' },
    require: { types: './dist/index.d.cts', default: './dist/index.cjs' },
  });
});

test("the demo page's copy is what is built now (else: npm run build:web)", () => {
  expect(read('../../web/sdk.js')).toBe(read('dist/index.mjs'));
});
