// Runs a vitest suite with plain output and closes with one line that can be read by eye and by script:
//
//   node tools/test.mjs sdk [vitest arguments]        sdk: 41 passed, 0 failed
//
// Who passes an --outputFile.json of their own reads it themselves.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [name, ...args] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'sdk-'));
const report = join(folder, 'report.json');
const own = !args.some((arg) => arg.startsWith('--outputFile'));
if (own) args.push('--reporter=default', '--reporter=json', `--outputFile.json=${report}`);

const { status } = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...args], {
  stdio: 'inherit',
  env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
});
let failed = status !== 0;
if (own) {
  let counts = { numPassedTests: 0, numFailedTests: 0, numFailedTestSuites: 0 };
  try {
    counts = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    failed = true; // vitest did not come so far as to write it, and has said why
  }
  const { numPassedTests: passed, numFailedTests, numFailedTestSuites } = counts;
  console.log(`${name}: ${passed} passed, ${numFailedTests || numFailedTestSuites} failed`);
  failed ||= passed === 0; // a filter that matches nothing is no success
}
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
