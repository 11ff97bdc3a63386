// The example of the README runs as it stands, but for the address and the key.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';

const root = join(import.meta.dirname, '../..');

test('the first example says who is there and who comes', async () => {
  const { urls, apiKey } = inject('stack');
  const example = /```js\n(.*?)```/s.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
  const program = example.replace(/'localapp\.[^']*'/, JSON.stringify(apiKey)).replace("'ws://localhost:9000/core'", JSON.stringify(urls[1]));
  expect(program).toContain(apiKey);
  expect(program).toContain(urls[1]);
  const before = "import WebSocket from 'ws'; globalThis.WebSocket ??= WebSocket;\n";
  const child = spawn(process.execPath, ['--input-type=module', '--eval', before + program], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  for await (const text of child.stdout) {
    printed += String(text);
    if (printed.includes('join')) break;
  }
  child.kill();
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  expect(printed).toBe("0 here\njoin ana { status: 'reading' }\n");
});
