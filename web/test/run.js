// Runs the tests and ends with one plain line: `page: N passed, M failed`.
// Arguments go to vitest; its own reporters stay what the caller asked for.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');
const counts = join(tmpdir(), `page-${process.pid}.json`);
const given = process.argv.slice(2);
const reporters = [...(given.some((a) => a.startsWith('--reporter')) ? [] : ['--reporter=default']), '--reporter=./harness/count.js'];
const { status } = spawnSync(process.execPath, [vitest, 'run', ...given, ...reporters], {
  stdio: 'inherit',
  env: { NO_COLOR: '1', ...process.env, PAGE_COUNTS: counts },
});
let passed = 0, failed = 1;
try {
  ({ passed, failed } = JSON.parse(readFileSync(counts, 'utf8')));
} catch {
  // vitest did not come to its end: that is a failure, too
}
rmSync(counts, { force: true });
console.log(`page: ${passed} passed, ${failed} failed`);
process.exit(status || (passed === 0 || failed > 0 ? 1 : 0));
