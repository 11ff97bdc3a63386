import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { Cable } from '../integration/cable';
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

/** The page's client behind a cable, present in `room`; what its connection says is kept in `window.log`. */
async function present(line: Cable, clientId: string, room: string, on: Page = page): Promise<void> {
  await on.evaluate(async ([options, id]) => {
    const { RelayBox } = window as any;
    const relayBox = new RelayBox({ ...options, reconnect: { baseMs: 1, capMs: 50 } });
    const log: unknown[] = [];
    Object.assign(window, { relayBox, log });
    for (const name of ['disconnect', 'offline', 'reconnected']) relayBox.connection.on(name, () => log.push(name));
    await relayBox.connect();
    await relayBox.join(id).presence.join();
    await relayBox.join(id).presence.members.ready();
  }, [{ ...here, url: line.url, clientId }, room] as const);
}

const logged = (word: string, on: Page = page): Promise<unknown> => on.waitForFunction((one) => (window as any).log.includes(one), word);
const count = (room: string, on: Page = page): Promise<number> => on.evaluate((id) => (window as any).relayBox.join(id).presence.members.size, room);

test('offline: no attempt; online: back at once', async () => {
  const line = await Cable.to(here!.url);
  try {
    await present(line, 'ana', 'network');
    await page.context().setOffline(true);
    line.pull();
    await logged('offline');
    const { asked } = line;
    line.plug();
    await page.waitForTimeout(500); // ten times the longest delay
    expect(line.asked).toBe(asked);
    await page.context().setOffline(false);
    await logged('reconnected');
    expect(await count('network')).toBe(1);
  } finally {
    await page.evaluate('window.relayBox.disconnect()'); // before its cable is gone
    await line.stop();
    complaints = complaints.filter((text) => !/WebSocket|ws:/.test(text));
  }
});

test.each(['visibilitychange', 'pageshow'])('%s: a socket that says nothing any more is replaced, and nobody sees a leave', async (name) => {
  const line = await Cable.to(here!.url);
  try {
    const room = `shown-${name}`;
    await present(line, 'ana', room);
    line.stall();
    line.plug(there!.url);
    await page.evaluate((event) => {
      const shown = Object.assign(new Event(event), { persisted: true });
      (event === 'pageshow' ? window : document).dispatchEvent(shown);
    }, name);
    await logged('reconnected');
    expect(await page.evaluate(() => (window as any).relayBox.node)).toBe('n2');
    expect(await count(room)).toBe(1);
  } finally {
    await page.evaluate('window.relayBox.disconnect()'); // before its cable is gone
    await line.stop();
    complaints = complaints.filter((text) => !/WebSocket|ws:/.test(text));
  }
});

test('two tabs of one client: one is closed, the other stays', async () => {
  const [line, other] = [await Cable.to(here!.url), await Cable.to(there!.url)];
  try {
    const second = await page.context().newPage();
    await second.goto(page.url());
    await second.waitForFunction('window.forms');
    await present(line, 'ana', 'two-tabs');
    await present(other, 'ana', 'two-tabs', second);
    await page.waitForFunction(() => (window as any).relayBox.join('two-tabs').presence.members.size === 2);
    await second.close();
    await page.waitForFunction(() => (window as any).relayBox.join('two-tabs').presence.members.size === 1);
    expect(await page.evaluate(() => {
      const { relayBox } = window as any;
      return relayBox.join('two-tabs').presence.members.has(relayBox.connectionId);
    })).toBe(true);
  } finally {
    await page.evaluate('window.relayBox.disconnect()'); // before its cable is gone
    await line.stop();
    await other.stop();
    complaints = complaints.filter((text) => !/WebSocket|ws:/.test(text));
  }
});
