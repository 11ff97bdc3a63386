// Nothing shifts, nothing overflows, nothing overlaps, nothing moves for those who asked for calm.
import { inject, expect, test } from 'vitest';
import { eventually, freshRoom, roomTab, tab } from '../harness/browser.js';
import { member } from '../harness/members.js';
import { largeText } from '../harness/profile.js';

const width = (page) => page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);

test.each([360, 1440])('nothing shifts at %i px while fifty join and leave and the cable goes out and in', async (wide) => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor', { width: wide, height: 900 });
  await eventually(page, () => /ms/.test(document.querySelector('.strip .figure').textContent));
  await page.evaluate(() => {
    globalThis.shifts = [];
    new PerformanceObserver((list) => {
      for (const e of list.getEntries()) globalThis.shifts.push(`${e.value.toFixed(5)}: ${e.sources.map(({ node, previousRect: a, currentRect: b }) => `${node?.className ?? node?.nodeName} ${a.x},${a.y} ${a.width}×${a.height} to ${b.x},${b.y} ${b.width}×${b.height}`).join('; ')}`);
    }).observe({ type: 'layout-shift' });
  });
  const crowd = [];
  for (let i = 0; i < 50; i++) crowd.push(await member(inject('sockets')[i % 2], room, `c${i}`, { name: `Client ${i}`, node: 'n1' }));
  await eventually(page, () => document.querySelector('.counts .bold').textContent === '51');
  await page.click('.cable');
  await page.locator('.strip[data-phase=cut]').waitFor();
  await page.click('.cable');
  await page.locator('.strip[data-phase=live]').waitFor();
  for (const m of crowd) m.leave();
  await eventually(page, () => document.querySelector('.counts .bold').textContent === '1' && document.querySelectorAll('.person').length === 1);
  expect(await page.evaluate(() => globalThis.shifts)).toEqual([]);
});

test.each(['room', 'fleet', 'split'])('the %s does not scroll sideways at 360 px', async (view) => {
  const page = await tab({ view, room: freshRoom(), name: 'Ada Okafor' }, { width: 360, height: 800 });
  await (view === 'split' ? page.locator('.narrow') : page.locator('.strip[data-phase=live]')).waitFor();
  const [scroll, inner] = await width(page);
  expect(scroll).toBeLessThanOrEqual(inner);
});

test('nor at 720 px with text twice as large', async () => {
  const { page, close } = await largeText({ viewport: { width: 720, height: 900 } });
  for (const view of ['room', 'fleet', 'split']) {
    await page.goto(`${inject('urls')[0]}?${new URLSearchParams({ view, room: freshRoom(), name: 'Ada Okafor' })}`);
    await (view === 'split' ? page.locator('.narrow') : page.locator('.strip[data-phase=live]')).waitFor();
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).fontSize)).toBe('32px');
    const [scroll, inner] = await width(page);
    expect(scroll, view).toBeLessThanOrEqual(inner);
  }
  await close();
});

// Siblings whose boxes lie over each other, in the rows that hold words and controls.
const overlaps = () => {
  const bad = [];
  for (const row of document.querySelectorAll('header.bar, .strip, .stage, .actions, .panel > header, .map-bar, .pill, .log .open, .person, .counts, .message, footer')) {
    const kids = [...row.children].filter((el) => el.checkVisibility() && !el.matches('.vh, .skip, [role=status]')).map((el) => [el, el.getBoundingClientRect()]).filter(([, r]) => r.width > 1 && r.height > 1);
    for (const [i, [a, ra]] of kids.entries()) {
      for (const [b, rb] of kids.slice(i + 1)) {
        const over = Math.min(Math.min(ra.right, rb.right) - Math.max(ra.left, rb.left), Math.min(ra.bottom, rb.bottom) - Math.max(ra.top, rb.top));
        if (over > 1) bad.push(`${row.className}: ${a.className || a.tagName} over ${b.className || b.tagName} by ${over.toFixed(1)}`);
      }
    }
  }
  return bad;
};

test.each([['x-long', 'ltr'], ['en', 'rtl'], ['x-long', 'rtl']])('in the language %s, %s, nothing overlaps', async (lang, dir) => {
  const room = freshRoom();
  const crowd = await Promise.all(['ليلى حداد', 'Bo Lindqvist', 'x'.repeat(60)].map((name, i) => member(inject('sockets')[0], room, `c${i}`, { name, status: 'Writing a rather long status about what is being done', node: 'n1' })));
  for (const query of [{ view: 'room', room }, { view: 'fleet', room: freshRoom() }]) {
    const page = await tab({ ...query, name: 'Ada Okafor', lang, dir }, { width: 1440 });
    await page.locator('.strip[data-phase=live]').waitFor();
    if (query.view === 'room') await page.locator('.person').nth(3).waitFor();
    for (const size of [360, 768, 1200, 1440]) {
      await page.setViewportSize({ width: size, height: 900 });
      await eventually(page, () => document.getAnimations().every((a) => a.effect.getComputedTiming().endTime > 3000 || a.playState !== 'running'));
      expect(await page.evaluate(overlaps), `${query.view} ${size}`).toEqual([]);
      const [scroll, inner] = await width(page);
      expect(scroll, `${query.view} ${size}`).toBeLessThanOrEqual(inner);
    }
  }
  for (const m of crowd) m.leave();
});

test('with reduced motion no running animation moves anything', async () => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor', { reducedMotion: 'reduce' });
  await page.evaluate(() => {
    globalThis.moved = [];
    const look = () => {
      for (const a of document.getAnimations()) {
        const frames = a.effect.getKeyframes();
        if (frames.some((f) => 'transform' in f)) globalThis.moved.push(a.transitionProperty ?? a.animationName ?? 'animation');
      }
      requestAnimationFrame(look);
    };
    look();
  });
  const bo = await member(inject('sockets')[0], room, 'bo', { name: 'Bo' });
  await page.locator('.slot[data-client=bo]').waitFor();
  bo.leave();
  await page.locator('.person[data-client=bo]').waitFor({ state: 'detached' });
  expect(await page.evaluate(() => globalThis.moved)).toEqual([]);
});

test('where the system chooses the colours, the states still differ by their signs', async () => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor', { forcedColors: 'active' });
  const bo = await member(inject('sockets')[0], room, 'bo', { name: 'Bo' });
  await page.locator('.slot[data-client=bo]').waitFor();
  bo.leave();
  await page.locator('.person[data-client=bo][data-state=left]').waitFor();
  const signs = await page.evaluate(() => Object.fromEntries(['ada', 'bo'].map((id) => [id, document.querySelector(`.person[data-client=${id}] .badge svg`).innerHTML])));
  expect(signs.ada).not.toBe(signs.bo);
  expect(await page.locator('.cable').evaluate((el) => parseFloat(getComputedStyle(el).borderTopWidth))).toBeGreaterThan(0);
});

test('eight people stand between the braces, of more there are seven and a number', async () => {
  const room = freshRoom();
  const page = await roomTab(room, 'Ada Okafor', { width: 1440 });
  const crowd = [];
  for (let i = 0; i < 7; i++) crowd.push(await member(inject('sockets')[0], room, `c${i}`, { name: `Client ${i}` }));
  await eventually(page, () => document.querySelectorAll('.slot').length === 8 && document.querySelector('.more').hidden);
  for (let i = 7; i < 10; i++) crowd.push(await member(inject('sockets')[0], room, `c${i}`, { name: `Client ${i}` }));
  await eventually(page, () => document.querySelectorAll('.slot').length === 7 && document.querySelector('.more').textContent === '+4');
  await page.click('.more');
  expect(await page.evaluate(() => document.activeElement.getAttribute('aria-label'))).toBe('Members');
  for (const m of crowd) m.leave();
});
