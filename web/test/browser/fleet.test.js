import { inject, expect, test } from 'vitest';
import { eventually, freshRoom, tab } from '../harness/browser.js';
import { member } from '../harness/members.js';

const fleetTab = async (room, options) => {
  const page = await tab({ view: 'fleet', room }, options);
  await page.locator('.strip[data-phase=live]').waitFor();
  return page;
};
const pill = (page, text) => page.locator('.pill .part', { hasText: text }).waitFor();
const driven = async (room) => {
  const page = await fleetTab(room);
  await pill(page, '24 vehicles');
  await eventually(page, () => [...document.querySelectorAll('tbody tr[data-state] td:nth-child(3)')].every((td) => td.textContent));
  return page;
};

test('twenty-four vehicles, each a connection of its own, move on the map', async () => {
  const room = freshRoom();
  const page = await driven(room);
  const watcher = await member(inject('sockets')[1], room, 'watcher');
  const list = (await watcher.room.presence.get()).filter((m) => m.clientId !== 'watcher');
  watcher.leave();
  expect(new Set(list.map((m) => m.connectionId)).size).toBe(24);
  expect(new Set(list.map((m) => m.data.node))).toEqual(new Set(['n1', 'n2']));
  const drawing = () => page.locator('canvas').evaluate((c) => c.toDataURL());
  const before = await drawing();
  await eventually(page, (old) => document.querySelector('canvas').toDataURL() !== old, before);
  expect(await page.locator('.map').getAttribute('aria-label')).toMatch(/^City map with 2[45] vehicles\. The table beside it holds the same data\.$/);
  await eventually(page, () => Number.parseInt(document.querySelector('.vehicles-panel .aside').textContent, 10) >= 8);
});

test('a second control room on the other node sees the same vehicles and drives none', async () => {
  const room = freshRoom();
  await driven(room);
  const other = await fleetTab(room, { node: 1 });
  await pill(other, '24 vehicles');
  await other.locator('.says', { hasText: 'driven by another tab' }).waitFor();
  expect(await other.locator('#driven').inputValue()).toBe('0');
});

test('a vehicle without signal is not one who left', async () => {
  const room = freshRoom();
  const page = await driven(room);
  // One that is far from the tunnel, and selected: a selected row stays in the document.
  await page.locator('tr[data-state=live]', { hasText: 'Ring south' }).first().click();
  const row = page.locator('tr[aria-selected=true]');
  const plate = await row.locator('td').nth(1).textContent();
  await page.click('text=Cut signal for 15 s');
  await page.locator('.says', { hasText: `${plate} sends nothing for 15 s.` }).waitFor();
  await page.locator('tr[aria-selected=true][data-state=silent]').waitFor();
  expect(await row.locator('td').nth(0).textContent()).toBe('no signal');
  expect(await page.locator('.float').innerText()).toContain('no signal for');
  await pill(page, '24 vehicles');
  await page.locator('tr[aria-selected=true][data-state=live]', { hasText: plate }).waitFor();
});

test('fewer vehicles: those who go have left the room, and are gone from the table after a moment', async () => {
  const page = await driven(freshRoom());
  await page.selectOption('#driven', '0');
  await page.locator('tr[data-state=left]').first().waitFor();
  await pill(page, '24 left');
  await page.locator('.says', { hasText: 'No vehicle is in the room.' }).waitFor();
  await eventually(page, () => document.querySelectorAll('tbody tr:not(.space)').length === 0);
});

test('arrow keys select a vehicle, the map follows, Esc lets it go', async () => {
  const page = await driven(freshRoom());
  await page.locator('tbody tr[tabindex="0"]').first().focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  const chosen = page.locator('tr[aria-selected=true]');
  expect(await chosen.count()).toBe(1);
  expect(await chosen.evaluate((el) => el === document.activeElement)).toBe(true);
  const plate = await chosen.locator('td').nth(1).textContent();
  await page.locator('.float', { hasText: plate }).waitFor();
  await page.keyboard.press('End');
  await page.locator('.float:not([hidden])').waitFor();
  expect(await page.locator('tr[aria-selected=true]').getAttribute('aria-rowindex')).toBe('25');
  await page.keyboard.press('Escape');
  await page.locator('.float').waitFor({ state: 'hidden' });
});

test('a click on the map selects the vehicle under it', async () => {
  const room = freshRoom();
  const page = await driven(room);
  await page.selectOption('#driven', '0');
  await pill(page, '0 vehicles');
  const parked = await member(inject('sockets')[0], room, 'parked', { registration: 'PARK 1', latitude: 53.56 - 325 * (3 / 111_320), longitude: 9.94 + (440 * (3 / 111_320)) / Math.cos((53.56 * Math.PI) / 180), speed: 0, node: 'n1' });
  await page.locator('tr[data-state=live]', { hasText: 'PARK 1' }).waitFor();
  const box = await page.locator('.map').boundingBox();
  await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
  await page.locator('.float', { hasText: 'PARK 1' }).waitFor();
  parked.leave();
});
