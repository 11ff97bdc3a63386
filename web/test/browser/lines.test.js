// What the page says when its node, Redis or the network goes: a world of its own.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, freshRoom, roomTab, violations } from '../harness/browser.js';
import { startWorld } from '../harness/world.js';

let world;
beforeAll(async () => { world = await startWorld(2); });
afterAll(() => world?.stop());

test('a node that stops: the list stays, the page tries again, and comes back by itself', async () => {
  const ada = await roomTab(freshRoom(), 'Ada Okafor', { urls: world.urls, expectErrors: true });
  await world.end(0);
  await ada.locator('.strip[data-phase=lost]').waitFor();
  await ada.locator('.message', { hasText: 'Connection lost. Trying again' }).waitFor();
  expect(await ada.locator('.person').count()).toBe(1);
  expect(await ada.locator('.at').first().textContent()).toMatch(/^as of \d\d:\d\d:\d\d$/);
  expect(await ada.locator('.message [role=status]').textContent()).toBe('Connection lost. Trying again.');
  for (const [width, theme] of [[360, 'light'], [768, 'dark'], [1440, 'light'], [1440, 'dark']]) {
    await ada.setViewportSize({ width, height: 900 });
    await ada.emulateMedia({ colorScheme: theme });
    expect(await violations(ada), `${width} ${theme}`).toEqual([]);
  }
  await world.revive(0);
  await ada.locator('.strip[data-phase=live]').waitFor();
  await ada.locator('.membership >> text=Leave').waitFor();
  await eventually(ada, () => /no gap/.test(document.querySelector('.events .aside').textContent));
});

test('Redis silent: the update is refused in words, and the field keeps its text', async () => {
  const ada = await roomTab(freshRoom(), 'Ada Okafor', { urls: world.urls, node: 1 });
  world.pauseRedis();
  try {
    await ada.fill('#status', 'Written in the dark');
    await ada.keyboard.press('Enter');
    await ada.locator('.message[data-tone=red]', { hasText: 'Redis does not answer: nothing was stored. Try again.' }).waitFor();
    expect(await ada.locator('#status').inputValue()).toBe('Written in the dark');
  } finally {
    world.resumeRedis();
  }
  // The node may need a moment until it trusts Redis again: press until it is taken.
  await eventually(ada, () => {
    if (document.querySelector('.person .note').textContent === 'Written in the dark') return true;
    document.querySelector('.field .button').click();
    return false;
  });
});

test('a device without network says so, and is live again when it has one', async () => {
  const ada = await roomTab(freshRoom(), 'Ada Okafor', { urls: world.urls, node: 1, expectErrors: true });
  await ada.context().setOffline(true);
  await ada.click('.cable'); // an open socket does not feel the emulation: let it go
  await ada.locator('.strip[data-phase=cut]').waitFor();
  await ada.click('.cable');
  await ada.locator('.message', { hasText: 'Your device is offline. The list is as of' }).waitFor();
  await ada.context().setOffline(false);
  await ada.locator('.strip[data-phase=live]').waitFor();
  await ada.locator('.membership >> text=Leave').waitFor();
});
