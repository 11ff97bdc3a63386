import { expect, test } from 'vitest';
import { fromGeo, HEIGHT, pointAt, ROADS, toGeo, whereIs, WIDTH } from '../../fleet/city.js';
import { drive, inTunnel, place, toTunnel, wayToTunnel } from '../../fleet/route.js';
import { placeAt, stateOf, Vehicles } from '../../fleet/vehicles.js';

// Dice that are the same in every run.
function dice(seed = 1) {
  let n = seed;
  return () => {
    n = (Math.imul(n, 1664525) + 1013904223) >>> 0;
    return n / 2 ** 32;
  };
}

test('a place survives the way to latitude and longitude and back', () => {
  for (const [x, y] of [[0, 0], [440, 325], [880, 650]]) {
    const { latitude, longitude } = toGeo(x, y);
    const back = fromGeo(latitude, longitude);
    expect(Math.hypot(back.x - x, back.y - y)).toBeLessThan(0.1);
  }
});

test('every road can be left for another, and every inner end stands on one', () => {
  for (const road of ROADS) {
    expect(road.junctions.length, road.name).toBeGreaterThan(0);
    for (const s of [0, road.length]) {
      const { x, y } = pointAt(road, s);
      const outside = x < 0 || y < 0 || x > WIDTH || y > HEIGHT;
      expect(outside || road.junctions.some((j) => j.end && Math.abs(j.s - s) < 8), `${road.name} at ${s}`).toBe(true);
    }
  }
});

test('vans stay on the roads, and never jump', () => {
  const random = dice(7);
  for (let i = 0; i < 40; i++) {
    const way = place(i, random);
    let last = drive(way, 0, random);
    for (let t = 0; t < 300; t++) {
      const next = drive(way, 2, random);
      expect(Math.hypot(next.x - last.x, next.y - last.y)).toBeLessThan(24);
      expect(way.s).toBeGreaterThanOrEqual(0);
      expect(way.s).toBeLessThanOrEqual(ROADS[way.road].length);
      last = next;
    }
  }
});

test('a van that is sent into the tunnel gets there from wherever it is', () => {
  const random = dice(3);
  for (let i = 0; i < 40; i++) {
    const way = place(i, random);
    const { far } = wayToTunnel(way);
    toTunnel(way);
    let t = 0;
    while (!inTunnel(way) && t < 300) {
      drive(way, 1, random);
      t++;
    }
    expect(inTunnel(way), `van ${i}, ${Math.round(far)} units away`).toBe(true);
    expect(t).toBeLessThan(far / 6 + 10);
  }
});

test('a place is named by its road, and the tunnel by itself', () => {
  const hill = ROADS.find((r) => r.tunnel);
  const inside = pointAt(hill, (hill.tunnel[0] + hill.tunnel[1]) / 2);
  expect(whereIs(inside.x, inside.y)).toMatchObject({ name: 'Hill road', tunnel: true });
  const quay = ROADS.find((r) => r.name === 'Quay');
  const there = pointAt(quay, quay.length / 2);
  expect(whereIs(there.x, there.y)).toMatchObject({ name: 'Quay', tunnel: false });
});

const heard = (id, revision, x, y, speed = 50) => ({ event: 'update', connectionId: id, clientId: id, revision, data: { registration: 'NB 1', ...toGeo(x, y), speed, node: 'n1' } });

test('silence is judged by a vehicle\'s own interval', () => {
  const vehicles = new Vehicles();
  for (let i = 0; i < 6; i++) vehicles.event(heard('slow', i + 1, 10 + i, 10), i * 5000);
  const slow = vehicles.all.get('slow');
  expect(slow.interval).toBe(5000);
  expect(stateOf(slow, 25_000 + 14_000)).toBe('live');
  expect(stateOf(slow, 25_000 + 16_000)).toBe('silent');
});

test('the time between a list and the first update is no interval', () => {
  const vehicles = new Vehicles();
  const member = { id: 'a', clientId: 'a', revision: 1, data: heard('a', 1, 10, 10).data };
  vehicles.reset([member], 1000);
  vehicles.event(heard('a', 2, 12, 10), 1100);
  expect(vehicles.all.get('a').interval).toBe(2000);
});

test('it is drawn between its last two places, never beyond the newest', () => {
  const vehicles = new Vehicles();
  vehicles.event(heard('a', 1, 100, 100), 0);
  vehicles.event(heard('a', 2, 120, 100), 2000);
  const a = vehicles.all.get('a');
  expect(placeAt(a, 2000).x).toBeCloseTo(100, 0);
  expect(placeAt(a, 3000).x).toBeCloseTo(110, 0);
  expect(placeAt(a, 9000).x).toBeCloseTo(120, 0);
});

test('after a silence it goes on from the new place, without a line through what nobody saw', () => {
  const vehicles = new Vehicles();
  for (let i = 0; i < 4; i++) vehicles.event(heard('a', i + 1, 100 + i, 100), i * 2000);
  vehicles.event(heard('a', 9, 300, 100), 40_000);
  const a = vehicles.all.get('a');
  expect(placeAt(a, 40_000).x).toBeCloseTo(300, 0);
  expect(a.interval).toBe(2000);
});

test('one who left is not in the count, and is forgotten after four seconds', () => {
  const vehicles = new Vehicles();
  vehicles.event(heard('a', 1, 1, 1), 0);
  vehicles.event({ event: 'leave', connectionId: 'a', clientId: 'a', revision: 2 }, 1000);
  expect(vehicles.count(2000)).toEqual({ here: 0, live: 0, silent: 0, left: 1 });
  expect(vehicles.count(6000)).toEqual({ here: 0, live: 0, silent: 0, left: 0 });
  expect(vehicles.all.size).toBe(0);
});

test('odd data of a vehicle is borne', () => {
  const vehicles = new Vehicles();
  for (const [i, data] of [undefined, null, 7, 'x', [], { latitude: 'north' }, { latitude: 53.5 }].entries()) {
    vehicles.event({ event: 'update', connectionId: `v${i}`, clientId: `v${i}`, revision: i + 1, data }, 0);
    expect(placeAt(vehicles.all.get(`v${i}`), 10)).toBeNull();
  }
  expect(vehicles.count(10).here).toBe(7);
});
