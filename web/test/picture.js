// The pictures of the README, from a real run: two nodes, side by side, light and dark.
//   PRESENCE_BIN=../../bin/presence npm run picture
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { startWorld } from './harness/world.js';

const WIDTH = 1280, HEIGHT = 800, LIMIT = 250_000;
const docs = fileURLToPath(new URL('../../docs/', import.meta.url));
const require = createRequire(import.meta.url);
// A machine without fonts would draw the picture in its own fallback: Inter stands for the system's font.
const font = ['latin', 'cyrillic', 'latin-ext'].flatMap((set) => [400, 500, 600].map((weight) => {
  const file = require.resolve(`@fontsource/inter/files/inter-${set}-${weight}-normal.woff2`);
  const range = { latin: 'U+0000-00FF,U+2000-206F,U+20AC,U+2122', cyrillic: 'U+0400-045F,U+0490-0491', 'latin-ext': 'U+0100-02BA,U+1E00-1E9F' }[set];
  return `@font-face{font-family:Inter;font-weight:${weight};unicode-range:${range};src:url(data:font/woff2;base64,${readFileSync(file, 'base64')})}`;
})).join('') + ':root{--sans:Inter,system-ui,sans-serif}';

const world = await startWorld(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--hide-scrollbars'] });
try {
  for (const scheme of ['light', 'dark']) await take(scheme);
} finally {
  await browser.close();
  await world.stop();
}

async function take(scheme) {
  const room = 'design-review';
  const tab = async (node, name, status) => {
    const page = await (await browser.newContext({ viewport: { width: 720, height: 600 } })).newPage();
    await page.goto(`${world.urls[node]}?${new URLSearchParams({ room, name })}`);
    await joined(page);
    if (status) await say(page, status);
    return page;
  };
  const others = [await tab(1, 'Cy Moreau', 'Was on page 4'), await tab(0, 'Dina Tanaka'), await tab(1, 'Иван Петров', 'Commenting')];
  const zoe = await tab(0, 'Zoë Åberg');

  const context = await browser.newContext({ viewport: { width: WIDTH, height: HEIGHT }, colorScheme: scheme, deviceScaleFactor: 1.5, bypassCSP: true });
  const page = await context.newPage();
  await page.goto(`${world.urls[0]}?${new URLSearchParams({ view: 'split', room, name: 'Ada Okafor' })}`);
  const panes = ['one', 'two'].map((id) => page.frameLocator(`#pane-${id}`));
  for (const pane of panes) await joined(pane);
  for (const frame of page.frames()) await frame.addStyleTag({ content: font });
  await say(panes[1], 'Editing section 2');
  await say(panes[0], 'Reviewing the header');
  for (const pane of panes) await pane.locator('.strip .figure > span', { hasText: 'ms' }).waitFor();
  await zoe.close();
  for (const pane of panes) await pane.locator('.slot[data-state=left]').waitFor();
  await panes[0].locator('#status').blur();
  await Promise.all(page.frames().map((f) => f.evaluate(() => document.fonts.ready)));
  await Promise.all(page.frames().map((f) => f.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.transitionProperty).map((a) => a.finished)))));
  const path = `${docs}picture-${scheme}.png`;
  await page.screenshot({ path });
  const { size } = statSync(path);
  console.log(`docs/picture-${scheme}.png: ${size} bytes`);
  if (size > LIMIT) throw new Error(`more than ${LIMIT} bytes`);
  await context.close();
  for (const other of others) await other.context().close();
}

function joined(page) { return page.locator('.membership >> text=Leave').waitFor(); }

async function say(page, status) {
  await page.locator('#status').fill(status);
  await page.locator('#status').press('Enter');
  await page.locator('.person .note', { hasText: status }).first().waitFor();
}
