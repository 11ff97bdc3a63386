// Keyboard, touch, ears: what the page is without a mouse or without eyes.
import { inject, expect, test } from 'vitest';
import { eventually, freshRoom, roomTab, tab } from '../harness/browser.js';
import { member } from '../harness/members.js';

const focused = (page) => page.evaluate(() => {
  const el = document.activeElement, style = getComputedStyle(el);
  return { tag: el.tagName, name: el.getAttribute('aria-label') ?? el.innerText ?? '', cls: el.className, id: el.id, outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth) };
});

async function tabTo(page, selector) {
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate((s) => document.activeElement.matches(s), selector)) return;
  }
  throw new Error(`no Tab stop ${selector}`);
}

test('by keyboard alone: update, pull, plug, leave, join, open a payload', async () => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor');
  await tabTo(page, '#status');
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.type('By keyboard');
  await page.keyboard.press('Enter');
  await page.locator('.person .note', { hasText: 'By keyboard' }).waitFor();
  await page.keyboard.press('Shift+Tab');
  expect((await focused(page)).cls).toContain('cable');
  await page.keyboard.press('Enter');
  await page.locator('.strip[data-phase=cut]').waitFor();
  expect((await focused(page)).cls).toContain('cable');
  await page.keyboard.press('Space');
  await page.locator('.strip[data-phase=live]').waitFor();
  await page.locator('.membership >> text=Leave').waitFor();
  await tabTo(page, '.membership');
  await eventually(page, () => document.querySelector('.membership').getAttribute('aria-disabled') === 'false');
  await page.keyboard.press('Enter');
  await page.locator('.message', { hasText: 'Nobody is here yet.' }).waitFor();
  expect((await focused(page)).cls).toContain('membership');
  await page.keyboard.press('Enter');
  await page.locator('.message', { hasText: 'Only you.' }).waitFor();
  await tabTo(page, '.log .open');
  await page.keyboard.press('Enter');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.press('Escape');
  expect((await focused(page)).cls).toBe('open');
});

test('every Tab stop shows an outline of at least 2 px and has a name', async () => {
  for (const query of [{ view: 'room' }, { view: 'fleet' }, { view: 'split' }]) {
    const page = await tab({ ...query, room: freshRoom(), name: 'Ada Okafor' });
    await (query.view === 'split' ? page.locator('iframe').first() : page.locator('.strip[data-phase=live]')).waitFor();
    const stops = new Set();
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press('Tab');
      const at = await focused(page);
      if (at.tag === 'BODY' || at.tag === 'IFRAME') break;
      stops.add(`${at.tag} ${at.cls} ${at.id} ${at.name}`);
      expect(at.outline, JSON.stringify(at)).toBeGreaterThanOrEqual(2);
      if (at.tag !== 'INPUT' && at.tag !== 'SELECT') expect(at.name.trim(), JSON.stringify(at)).not.toBe('');
    }
    expect(stops.size).toBeGreaterThan(5);
  }
});

test('targets are at least 24 px, and 44 px high on a phone', async () => {
  for (const view of ['room', 'fleet']) {
    const page = await tab({ view, room: freshRoom(), name: 'Ada Okafor' }, { width: 390, height: 844, hasTouch: true, isMobile: true });
    await page.locator(view === 'room' ? '.membership >> text=Leave' : 'tbody tr[data-state=live]').first().waitFor();
    for (const [width, least] of [[390, 44], [1440, 24]]) {
      await page.setViewportSize({ width, height: 844 });
      const small = await page.evaluate((min) => [...document.querySelectorAll('a, button, input:not([type=checkbox]), select, tbody tr:not(.space), .switch')]
        .filter((el) => el.checkVisibility({ visibilityProperty: true }) && !el.matches('.skip') && !el.closest('dialog'))
        .map((el) => [el.className || el.id || el.tagName, el.getBoundingClientRect()])
        .filter(([, r]) => r.height < min - 2.5 || r.width < Math.min(min, 24))
        .map(([name, r]) => `${name} ${r.width}×${r.height}`), least);
      expect(small, `${view} ${width}`).toEqual([]);
    }
  }
});

test('a hundred joins in two seconds are at most two announcements, a hundred updates none', async () => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor');
  await page.evaluate(() => {
    globalThis.said = [];
    for (const el of document.querySelectorAll('[role=status]')) new MutationObserver(() => globalThis.said.push(el.textContent)).observe(el, { childList: true, characterData: true, subtree: true });
  });
  const crowd = await Promise.all(Array.from({ length: 100 }, (_, i) => member(inject('sockets')[i % 2], room, `c${i}`, { name: `Client ${i}` })));
  await eventually(page, () => document.querySelector('.counts .bold').textContent === '101');
  await eventually(page, () => globalThis.said.some((t) => t.includes('joined')));
  const afterJoins = await page.evaluate(() => globalThis.said.length);
  expect(afterJoins).toBeLessThanOrEqual(2);
  await Promise.all(crowd.map(({ room: r }, i) => r.presence.update({ name: `Client ${i}`, status: 'updated' })));
  await eventually(page, () => document.querySelectorAll('.log .row[data-kind=update]').length >= 99);
  const said = await page.evaluate(() => globalThis.said);
  expect(said.filter((t) => t.includes('updated'))).toEqual([]);
  expect(said.length).toBeLessThanOrEqual(2);
  for (const m of crowd) m.leave();
});

test('the switch for announcements is kept', async () => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor');
  await page.locator('#announce').uncheck();
  await page.reload();
  expect(await page.locator('#announce').isChecked()).toBe(false);
});

test('one\'s own state is told at once and once', async () => {
  const page = await roomTab(freshRoom(), 'Ada Okafor');
  const status = page.locator('.message [role=status]');
  await page.click('.cable');
  await eventually(page, () => document.querySelector('.message [role=status]').textContent === 'Connection lost. Others see you for 10 seconds.');
  await page.click('.cable');
  await eventually(page, () => document.querySelector('.message [role=status]').textContent.startsWith('Back on n1 after'));
  expect(await status.count()).toBe(1);
});

test('focus never moves because somebody joined or left', async () => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor');
  const other = await member(inject('sockets')[1], room, 'bo', { name: 'Bo' });
  await page.locator('.log .open', { hasText: 'Bo joined' }).focus();
  other.leave();
  await page.locator('.log .row[data-kind=leave]').waitFor();
  await page.locator('.person[data-client=bo]').waitFor({ state: 'detached' });
  expect((await focused(page)).name).toContain('Bo joined');
});
