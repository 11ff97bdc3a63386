import { inject, describe, expect, test } from 'vitest';
import { eventually, freshRoom, roomTab, tab, violations } from '../harness/browser.js';
import { member } from '../harness/members.js';

const sizes = [[360, 'light'], [360, 'dark'], [768, 'light'], [768, 'dark'], [1440, 'light'], [1440, 'dark']];

async function everySize(page, frames = () => [page]) {
  for (const [width, theme] of sizes) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: theme });
    await eventually(page, (t) => document.documentElement.dataset.theme === t, theme);
    for (const frame of frames()) expect(await violations(frame), `${width} ${theme} ${frame.url()}`).toEqual([]);
  }
}

describe('axe finds nothing', () => {
  test('in a room with others, one of whom just left, and an open payload', async () => {
    const room = freshRoom();
    const ada = await roomTab(room, 'Ada Okafor');
    const crowd = await Promise.all(Array.from({ length: 12 }, (_, i) => member(inject('sockets')[i % 2], room, `c${i}`, { name: `Client ${i}`, status: 'Here', node: 'n1' })));
    await ada.locator('.more', { hasText: '+' }).waitFor();
    await everySize(ada);
    crowd[3].leave();
    await ada.locator('.person[data-state=left]').waitFor();
    expect(await violations(ada)).toEqual([]);
    await ada.locator('.log .open').first().click();
    expect(await violations(ada)).toEqual([]);
    for (const m of crowd) m.leave();
  });

  test('in an empty room', async () => {
    const page = await roomTab(freshRoom(), 'Ada Okafor');
    await page.click('.membership');
    await page.locator('.message', { hasText: 'Nobody is here yet.' }).waitFor();
    await page.locator('.person').waitFor({ state: 'detached' });
    await everySize(page);
  });

  test('with the cable out', async () => {
    const page = await roomTab(freshRoom(), 'Ada Okafor');
    await page.click('.cable');
    await page.locator('.strip[data-phase=cut]').waitFor();
    await everySize(page);
  });

  test('side by side, in the page and in both panes', async () => {
    const page = await tab({ view: 'split', room: freshRoom(), name: 'Ada Okafor' }, { width: 1440 });
    for (const id of ['one', 'two']) await page.frameLocator(`#pane-${id}`).locator('.membership >> text=Leave').waitFor();
    await everySize(page, () => (page.viewportSize().width >= 900 ? page.frames() : [page]));
  });

  test('in the fleet, with one selected', async () => {
    const page = await tab({ view: 'fleet', room: freshRoom() });
    await page.locator('.pill .part', { hasText: '24 vehicles' }).waitFor();
    await page.locator('tbody tr[data-state=live]').nth(2).click();
    await page.locator('.float').waitFor();
    await everySize(page);
  });
});
