// Tabs in Debian's Chromium. Each tab has its own context (its own storage) and
// is watched: no error in its console, no request to another origin, no socket
// to what is not a node.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, inject } from 'vitest';

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

let browser;
const open = [];
let complaints = [];

beforeAll(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium' });
});
afterAll(() => browser?.close());
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') for (const context of open) for (const page of context.pages()) await tellOf(page);
  const said = [...complaints]; // before the tabs are closed: that ends what they still load
  for (const context of open.splice(0)) await context.close();
  complaints = [];
  expect(said, 'console errors, failed requests, other origins').toEqual([]);
});

/** What a tab showed when its test failed. */
async function tellOf(page) {
  const text = await page.evaluate(() => document.querySelector('main')?.innerText).catch((error) => error.message);
  console.log(`${page.url()} showed:\n${text?.replace(/\n+/g, ' | ')}`);
}

let rooms = 0;
/** A room that no other test uses. */
export const freshRoom = () => `room-${process.pid}-${Date.now().toString(36)}-${++rooms}`;

/**
 * Opens a tab. `node` is 0 or 1; `query` becomes the URL's; `expectErrors` is
 * for tests in which the line goes, where Chromium itself logs failed sockets.
 */
export async function tab(query, { node = 0, urls = inject('urls'), width = 1280, height = 900, dark = false, expectErrors = false, ...context } = {}) {
  const made = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', ...context });
  open.push(made);
  const page = await made.newPage();
  watch(page, urls, expectErrors);
  await page.goto(`${urls[node]}?${new URLSearchParams(query)}`);
  return page;
}

function watch(page, urls, expectErrors) {
  const hosts = urls.map((u) => new URL(u).host);
  page.on('request', (r) => {
    const url = new URL(r.url());
    if (url.host !== new URL(page.url()).host && page.url() !== 'about:blank') complaints.push(`request to ${url.origin}`);
  });
  page.on('websocket', (s) => {
    if (!hosts.includes(new URL(s.url()).host)) complaints.push(`socket to ${s.url()}`);
  });
  page.on('pageerror', (e) => complaints.push(`page error: ${e.stack}`));
  page.on('console', (m) => {
    if (!['error', 'warning'].includes(m.type())) return;
    if (expectErrors && /WebSocket connection|ERR_CONNECTION/.test(m.text())) return;
    complaints.push(`console ${m.type()}: ${m.text()}`);
  });
  page.on('requestfailed', (r) => {
    if (!expectErrors) complaints.push(`failed: ${r.url()} ${r.failure()?.errorText}`);
  });
}

/** A tab in a room, joined. */
export async function roomTab(room, name, options = {}) {
  const page = await tab({ room, name, ...options.query }, options);
  await page.locator('.membership[aria-disabled=false] >> text=Leave').waitFor();
  return page;
}

/** Waits until the page's own function gives a true answer. */
export const eventually = (frame, fn, arg) => frame.waitForFunction(fn, arg, { timeout: 30_000 });

/** The names in the set, in their order. */
export const namesIn = (frame) => frame.locator('.slot[aria-hidden="false"] .name').evaluateAll((all) => all.map((el) => el.title));

/** Runs axe with the tags of the style page and what it adds to them; answers the violations in short. */
export async function violations(frame) {
  // Two frames: a change of theme or size has then begun its transitions.
  await frame.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await frame.evaluate(() => Promise.allSettled(document.getAnimations().filter((a) => a.effect?.getComputedTiming().endTime < 3000).map((a) => a.finished)));
  await frame.evaluate(AXE);
  return frame.evaluate(async () => {
    const on = { enabled: true };
    const { violations: found } = await globalThis.axe.run(document, {
      runOnly: { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'] },
      rules: { region: on, 'landmark-one-main': on, 'page-has-heading-one': on, 'heading-order': on },
    });
    return found.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target.join(' ')} ${n.failureSummary}`).slice(0, 3).join(' | ')}`);
  });
}
