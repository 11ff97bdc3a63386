import { inject, expect, test } from 'vitest';
import { eventually, freshRoom, namesIn, roomTab, tab } from '../harness/browser.js';
import { member, raw } from '../harness/members.js';

const has = (names) => [(want) => JSON.stringify([...document.querySelectorAll('.slot[aria-hidden="false"] .name')].map((el) => el.title)) === JSON.stringify(want), names];

test('two tabs on two nodes see each other join, update and leave', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor', { node: 0 });
  expect(await ada.locator('.strip .node').textContent()).toBe('Node n1');
  const bo = await roomTab(room, 'Bo Lindqvist', { node: 1 });
  expect(await bo.locator('.strip .node').textContent()).toBe('Node n2');
  for (const page of [ada, bo]) await eventually(page, ...has(['Ada Okafor', 'Bo Lindqvist']));

  await bo.fill('#status', 'Editing section 2');
  await bo.keyboard.press('Enter');
  await ada.locator('.person[data-client=bo] .note', { hasText: 'Editing section 2' }).waitFor();
  await ada.locator('.log .row[data-kind=update]', { hasText: 'Bo Editing section 2' }).waitFor();
  expect(await ada.locator('.person[data-client=bo] .chip').innerText()).toMatch(/^n2 [0-9a-f]{6}/);

  await bo.click('.membership');
  await ada.locator('.log .row[data-kind=leave]', { hasText: 'Bo left' }).waitFor();
  await eventually(ada, ...has(['Ada Okafor']));
  await ada.locator('.message', { hasText: 'Only you. Open this room on n2' }).waitFor();
  await bo.locator('.membership.primary', { hasText: 'Join' }).waitFor();
  expect(await ada.locator('.events .aside').textContent()).toMatch(/^\d+ seen, no gap$/);
});

test('closing a tab leaves at once; closing one of two tabs takes a chip, not the person', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor');
  const one = await roomTab(room, 'Bo Lindqvist', { node: 1 });
  const two = await roomTab(room, 'Bo Lindqvist', { node: 0 });
  await eventually(ada, () => document.querySelectorAll('.person[data-client=bo] .chip').length === 2);
  await eventually(ada, () => document.querySelector('.counts').innerText.replace(/\s+/g, ' ').startsWith('3 connections 2 clients'));
  const row = await ada.locator('.person[data-client=bo]').elementHandle();
  await one.close();
  await eventually(ada, () => document.querySelectorAll('.person[data-client=bo] .chip').length === 1);
  expect(await row.evaluate((el) => el.isConnected && el.dataset.state)).toBe('live');
  await two.close();
  await ada.locator('.person[data-client=bo] .note', { hasText: 'Left just now: closed the tab' }).waitFor();
  await ada.locator('.person[data-client=bo]').waitFor({ state: 'detached' });
});

test('a burst from both nodes arrives without a gap, and the list is what the server has', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor');
  const sockets = inject('sockets');
  const crowd = await Promise.all(Array.from({ length: 30 }, (_, i) => member(sockets[i % 2], room, `c${i}`, { name: `Client ${i}` })));
  await Promise.all(crowd.flatMap(({ room: r }, i) => [r.presence.update({ name: `Client ${i}`, status: 'one' }), r.presence.update({ name: `Client ${i}`, status: 'two' })]));
  for (const m of crowd.filter((_, i) => i % 3 === 0)) m.leave();
  await eventually(ada, () => document.querySelector('.counts .bold').textContent === '21');
  expect(await ada.locator('.events .aside').textContent()).toBe('101 seen, no gap');
  const list = await crowd[1].room.presence.get();
  const shown = await ada.locator('.person:not([data-state=left]) .chip').evaluateAll((all) => all.map((el) => el.dataset.conn).sort());
  expect(shown).toEqual(list.map((m) => m.connectionId).sort());
  expect(await ada.locator('.at').first().getAttribute('title')).toBe(String(list.revision));
  for (const m of crowd) m.leave();
});

test('the cable, plugged in within the grace: nobody saw anything, and this tab says so', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor', { expectErrors: true });
  const bo = await roomTab(room, 'Bo Lindqvist', { node: 1 });
  await eventually(ada, ...has(['Ada Okafor', 'Bo Lindqvist']));
  const cable = ada.locator('.cable');
  const width = await cable.evaluate((el) => el.offsetWidth);
  await cable.click();
  await ada.locator('.strip[data-phase=cut]', { hasText: 'cable out' }).waitFor();
  await ada.locator('.message', { hasText: /Others still see you for \d/ }).waitFor();
  expect(await cable.innerText()).toContain('Plug it back in');
  expect(await cable.evaluate((el) => el.offsetWidth)).toBe(width);
  await cable.click();
  await ada.locator('.log .row', { hasText: /Back on n1 in \d+\.\d s/ }).waitFor();
  await eventually(bo, ...has(['Ada Okafor', 'Bo Lindqvist']));
  expect(await bo.locator('.log .row[data-kind=leave]').count()).toBe(0);
  expect(await bo.locator('.log .row[data-kind=join]', { hasText: 'Ada' }).count()).toBe(0);
  expect(await bo.locator('.events .aside').textContent()).toMatch(/no gap/);
});

test('the cable, out for longer than the grace: others see one leave, and one join when it is back', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor', { expectErrors: true });
  const bo = await roomTab(room, 'Bo Lindqvist', { node: 1 });
  await eventually(ada, ...has(['Ada Okafor', 'Bo Lindqvist']));
  const cable = ada.locator('.cable');
  await cable.click();
  await bo.locator('.log .row[data-kind=leave]', { hasText: 'Ada left, timeout' }).waitFor();
  await ada.locator('.message', { hasText: 'Grace ended. Others saw you leave.' }).waitFor();
  await cable.click();
  await eventually(bo, ...has(['Bo Lindqvist', 'Ada Okafor']));
  expect(await bo.locator('.log .row[data-kind=leave]').count()).toBe(1);
  expect(await bo.locator('.log .row[data-kind=join]', { hasText: 'Ada' }).count()).toBe(1);
  expect(await bo.locator('.events .aside').textContent()).toMatch(/no gap/);
});

test('the ten lines light up, and the payload is shown to the letter', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor');
  expect(await ada.locator('.line').count()).toBe(10);
  const data = '{"name":"Raw","n":0.00,"big":12345678901234567890,"text":"\\u0041\\/"}';
  const sent = await raw(inject('sockets')[1], 'raw',
    `{"type":"ds:client:room:join","body":{"roomId":"${room}"},"ackId":"ACK"}`,
    `{"type":"ds:client:room:presence:join","body":{"roomId":"${room}","userData":${data}},"ackId":"ACK"}`);
  await ada.locator('.code .json', { hasText: 'Raw' }).waitFor();
  const shown = await ada.locator('.code .json').textContent();
  expect(shown.replace(/\s/g, '')).toContain(`"data":${data}`);
  expect(await ada.locator('#h-received').textContent()).toBe('What line 6 just received');
  await ada.locator('.log .open', { hasText: 'Raw' }).click();
  expect((await ada.locator('dialog .json').textContent()).replace(/\s/g, '')).toContain(`"data":${data}`);
  await ada.keyboard.press('Escape');
  expect(await ada.evaluate(() => document.activeElement.className)).toBe('open');
  sent.close();
});

const emoji = '👩‍👩‍👧 Family';
const long = 'x'.repeat(128);
test.each(['<img src=x onerror=alert(1)>', emoji, 'ليلى حداد', long, 'A "quoted" \\ name\'s'])('the name %s is text and breaks nothing', async (name) => {
  const room = freshRoom();
  const page = await roomTab(room, name, { width: 360, height: 800 });
  await eventually(page, ...has([name]));
  expect(await page.locator('.person .name').textContent()).toBe(name);
  expect(await page.locator('main img').count()).toBe(0);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
});

test('members with odd data, or none, are shown by their clientId', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor');
  const odd = [undefined, null, 7, 'text', [1], { name: 42 }, { name: '' }, { status: { deep: 1 } }, { node: 9, name: '‮evil' }];
  const crowd = [];
  for (const [i, data] of odd.entries()) crowd.push(await member(inject('sockets')[0], room, `odd${i}`, data));
  await eventually(ada, () => document.querySelectorAll('.person').length === 10);
  const notes = await ada.locator('.person .note').allTextContents();
  expect(notes.slice(1, 8)).toEqual(['', '', '7', '"text"', '[1]', '{"name":42}', '']);
  expect((await namesIn(ada)).slice(0, 3)).toEqual(['Ada Okafor', 'odd0', 'odd1']);
  for (const m of crowd) m.leave();
});

test('the state is in the URL: the link opens the same room as another person on the other node', async () => {
  const room = freshRoom();
  const ada = await roomTab(room, 'Ada Okafor');
  const link = new URL(await ada.locator('.strip a').getAttribute('href'));
  expect(link.origin).toBe(new URL(inject('urls')[1]).origin);
  expect(Object.fromEntries(link.searchParams)).toEqual({ room, name: 'Bo Lindqvist', view: 'room' });
  const fresh = await tab({ room });
  await fresh.locator('.membership >> text=Leave').waitFor();
  expect(new URL(fresh.url()).searchParams.get('name')).toBeTruthy();
});

test('the theme goes from the device\'s to light to dark, and is kept', async () => {
  const page = await roomTab(freshRoom(), 'Ada Okafor', { dark: true });
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  expect(await theme()).toBe('dark');
  await page.click('.theme');
  expect(await theme()).toBe('light');
  await page.reload();
  expect(await theme()).toBe('light');
  await page.click('.theme');
  expect(await theme()).toBe('dark');
});
