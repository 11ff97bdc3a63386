// Clients on the two nodes, ended after each test, and what the tests wait for.

import { RelayBox, type Room, type RelayBoxOptions } from '@relaybox/client';
import { afterEach, inject } from 'vitest';
import WebSocket from 'ws';

const open: RelayBox[] = [];

afterEach(() => {
  for (const relayBox of open.splice(0)) relayBox.disconnect();
});

/** A connected client on node 1 or 2. */
export async function connect(node: 1 | 2, options: Partial<RelayBoxOptions> = {}): Promise<RelayBox> {
  const { urls, apiKey } = inject('stack');
  const relayBox = new RelayBox({ url: urls[node - 1], apiKey, WebSocket, ...options });
  open.push(relayBox);
  await relayBox.connect();
  return relayBox;
}

let rooms = 0;

/** A room name that no other test has. */
export function freshRoom(): string {
  return `test:${process.pid}:${++rooms}`;
}

/** What a handler was called with, and the wait for it. */
export class Heard<T> {
  readonly all: T[] = [];
  readonly push = (item: T): void => {
    this.all.push(item);
    for (const wake of this.#wake.splice(0)) wake();
  };
  readonly #wake: (() => void)[] = [];

  async first(count: number): Promise<T[]> {
    return this.until((all) => all.length >= count);
  }

  async until(enough: (all: T[]) => boolean): Promise<T[]> {
    while (!enough(this.all)) await new Promise<void>((resolve) => this.#wake.push(resolve));
    return this.all;
  }
}

/** The presence events of a room, from here on. */
export async function presenceOf(room: Room): Promise<Heard<any>> {
  const heard = new Heard<any>();
  await room.presence.subscribe(heard.push);
  return heard;
}

/** The error that a promise rejects with. */
export async function failure(promise: PromiseLike<unknown>): Promise<any> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it was expected to reject');
}
