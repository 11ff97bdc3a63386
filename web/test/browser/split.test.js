import { inject, expect, test } from 'vitest';
import { freshRoom, tab } from '../harness/browser.js';

test('two panes, two nodes, one room', async () => {
  const page = await tab({ view: 'split', room: freshRoom(), name: 'Ada Okafor' }, { width: 1440 });
  const one = page.frameLocator('#pane-one'), two = page.frameLocator('#pane-two');
  await one.locator('.strip .node', { hasText: 'Node n1' }).waitFor();
  await two.locator('.strip .node', { hasText: 'Node n2' }).waitFor();
  await one.locator('.slot >> text=Bo').waitFor();
  await two.locator('.slot >> text=Ada').waitFor();
  await one.locator('#status').fill('Seen on both sides');
  await one.locator('#status').press('Enter');
  await two.locator('.person .note', { hasText: 'Seen on both sides' }).waitFor();
  expect(await page.locator('iframe').evaluateAll((all) => all.map((f) => f.title))).toEqual(['Ada Okafor on node n1', 'Bo Lindqvist on node n2']);
});

test('under 900 px there is a link to a second tab instead', async () => {
  const page = await tab({ view: 'split', room: freshRoom(), name: 'Ada Okafor' }, { width: 800 });
  const link = page.locator('.narrow a');
  await link.waitFor();
  expect(await link.innerText()).toContain('Open the room as Bo Lindqvist on n2');
  expect(new URL(await link.getAttribute('href')).origin).toBe(new URL(inject('urls')[1]).origin);
  expect(await page.locator('.panes').isVisible()).toBe(false);
});
