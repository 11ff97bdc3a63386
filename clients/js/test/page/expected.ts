// What each form of forms.mjs must give, wherever it runs.

import { expect } from 'vitest';

const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const connectionId = expect.stringMatching(/^sdktests:[0-9a-f]{20}$/);

/** The exact event: these fields and no other. */
function event(of: any, name: string, fields: object = {}, clientId = '123'): object {
  return { event: name, timestamp: iso, id: of.connectionId, clientId, connectionId: of.connectionId, revision: expect.any(Number), ...fields };
}

function seen(result: any, events: object[], last: object[]): void {
  expect(result.connectionId).toEqual(connectionId);
  expect(result.clientId).toBe('123');
  expect(result.nodes).toEqual(['n1', 'n2']);
  expect(result.events).toStrictEqual(events);
  expect(result.last).toStrictEqual(last);
  const revisions = [...result.events, ...result.last].map(({ revision }) => revision);
  for (const [n, revision] of revisions.entries()) if (n > 0) expect(revision).toBe(revisions[n - 1] + 1);
}

const closed = { reason: 'closed' };
const vehicle = { registration: 'AB12 CDE', latitude: 0, longitude: 0.01 };

export const expected: Record<string, (result: any) => void> = {
  'new RelayBox({ apiKey, clientId: 123 }) and connect()': ({ info, properties }) => {
    expect(info).toStrictEqual({ connectionId, clientId: '123', node: 'n1', graceMs: expect.any(Number) });
    expect(properties).toStrictEqual(info);
  },
  'join() not awaited, presence.join()': (r) => seen(r, [event(r, 'join')], [event(r, 'leave', closed)]),
  'join() not awaited, presence.join(userData)': (r) =>
    seen(r, [event(r, 'join', { data: { username: 'Grace' } })], [event(r, 'leave', { data: { username: 'Grace' }, ...closed })]),
  "await join(), await presence.subscribe('join', fn)": (r) => {
    expect(r.nodes).toEqual(['n1', 'n2']);
    expect(r.received).toStrictEqual([event(r, 'join', { data: { username: 'Bob' } }, 'bob')]);
  },
  'await join(), presence.update(userData)': (r) =>
    seen(r, [event(r, 'join'), event(r, 'update', { data: vehicle })], [event(r, 'leave', { data: vehicle, ...closed })]),
  'join() not awaited, presence.leave()': (r) =>
    seen(r, [event(r, 'join', { data: { username: 'Grace' } }), event(r, 'leave', { data: { username: 'Grace' }, reason: 'left' })], []),
  'join() not awaited, leave()': (r) =>
    seen(r, [event(r, 'join', { data: { username: 'Grace' } }), event(r, 'leave', { data: { username: 'Grace' }, reason: 'room_left' })], []),
  'all of them in order, on one connection': (r) => {
    // Joining while a member replaces the data: an update, so that there is one join for each leave.
    const events = [
      event(r, 'join'),
      event(r, 'update', { data: { username: 'Grace' } }),
      event(r, 'update', { data: vehicle }),
      event(r, 'leave', { data: vehicle, reason: 'left' }),
      event(r, 'join', { data: 'back' }),
      event(r, 'leave', { data: 'back', reason: 'room_left' }),
    ];
    expect(r.events).toStrictEqual(events);
    expect(r.own).toStrictEqual([events[4]]);
  },
};
