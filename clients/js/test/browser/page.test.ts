import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { expected } from '../page/expected';

// A page as a user would write it: the package by its name, found through an import map.
const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>SDK</title>
<link rel="icon" href="data:,">
<script type="importmap">{ "imports": { "@relaybox/client": "/client.mjs" } }</script>
<script type="module">
  import { forms } from '/forms.mjs';
  import { RelayBox, RelayBoxError } from '@relaybox/client';
  Object.assign(window, { forms, RelayBox, RelayBoxError });
</script>`;

const root = join(import.meta.dirname, '../..');
const files: Record<string, [type: string, text: () => string]> = {
  '/': ['text/html', () => html],
  '/client.mjs': ['text/javascript', () => readFileSync(join(root, 'dist/index.mjs'), 'utf8')],
  '/forms.mjs': ['text/javascript', () => readFileSync(join(root, 'test/page/forms.mjs'), 'utf8')],
};

const { urls, apiKey } = inject('stack');
const [here, there] = urls.map((url) => ({ url, apiKey }));

let server: Server;
let browser: Browser;
let page: Page;
let complaints: string[];

beforeAll(async () => {
  server = createServer((request, response) => {
    const file = files[request.url ?? ''];
    response.writeHead(file === undefined ? 404 : 200, { 'content-type': file?.[0] ?? 'text/plain' }).end(file?.[1]());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  browser = await chromium.launch({ executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium' });
});
afterAll(async () => {
  await browser?.close();
  server?.close();
});

beforeEach(async () => {
  complaints = [];
  page = await (await browser.newContext()).newPage();
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('requestfailed', (request) => complaints.push(request.url()));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction('window.forms');
});
afterEach(async () => {
  await page.context().close();
  expect(complaints).toEqual([]);
});

test.each(Object.keys(expected))('%s', async (name) => {
  expected[name]!(await page.evaluate(([form, env]) => (window as any).forms[form](env), [name, { here, there }] as const));
});

test('a refused key rejects connect() with a RelayBoxError', async () => {
  const error = await page.evaluate(async (options) => {
    const { RelayBox, RelayBoxError } = window as any;
    try {
      await new RelayBox(options).connect();
    } catch (caught) {
      const { name, code, retry } = caught as any;
      return { ours: caught instanceof RelayBoxError, name, code, retry };
    }
    return undefined;
  }, { ...here, apiKey: 'sdktests.full:wrong' });
  // A browser tells pages nothing of the status.
  expect(error).toEqual({ ours: true, name: 'ConnectError', code: 'connect_failed', retry: true });
  expect(complaints.splice(0)).toEqual([expect.stringContaining('WebSocket connection')]);
});

test('a closed tab is a member no more, at once', async () => {
  const connectionId = await page.evaluate(async (options) => {
    const { RelayBox } = window as any;
    const relayBox = new RelayBox({ ...options, clientId: 'tab' });
    await relayBox.connect();
    await relayBox.join('tabs').presence.join();
    return relayBox.connectionId as string;
  }, here);
  const watcher = await (await browser.newContext()).newPage();
  await watcher.goto(page.url());
  await watcher.waitForFunction('window.forms');
  await watcher.evaluate(async (options) => {
    const { RelayBox } = window as any;
    const relayBox = new RelayBox(options);
    await relayBox.connect();
    const room = await relayBox.join('tabs');
    (window as any).left = new Promise((resolve) => {
      (window as any).subscribed = room.presence.subscribe('leave', resolve);
    });
    await (window as any).subscribed;
  }, there);
  await page.goto('about:blank');
  expect(await watcher.evaluate(() => (window as any).left)).toMatchObject({ event: 'leave', connectionId, clientId: 'tab', reason: 'closed' });
  await watcher.context().close();
});
