// A cable between a client and its node that can be pulled: both sockets are reset, as when a
// link breaks, and no new one comes through until it is plugged in again. Stalled, it carries nothing
// and says nothing, as a network that swallows packets: only sockets made after that come through.

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export class Cable {
  readonly #server: Server;
  readonly #pairs = new Set<[Socket, Socket]>();
  readonly #path: string;
  #out = false;
  #to: URL;
  /** How many sockets were asked for. */
  asked = 0;

  private constructor(to: string) {
    this.#to = new URL(to);
    this.#path = this.#to.pathname;
    this.#server = createServer((near) => this.#join(near));
  }

  static async to(url: string): Promise<Cable> {
    const cable = new Cable(url);
    await once(cable.#server.listen(0, '127.0.0.1'), 'listening');
    return cable;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}${this.#path}`;
  }

  pull(): void {
    this.#out = true;
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  stall(): void {
    for (const [near, far] of this.#pairs) {
      near.unpipe(far).pause();
      far.unpipe(near).pause();
    }
  }

  /** Lets sockets through again, to another node where one is named. */
  plug(url?: string): void {
    this.#out = false;
    if (url !== undefined) this.#to = new URL(url);
  }

  async stop(): Promise<void> {
    this.pull();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket): void {
    this.asked++;
    near.on('error', () => {});
    if (this.#out) {
      near.resetAndDestroy();
      return;
    }
    const far = connect(Number(this.#to.port), this.#to.hostname);
    const pair: [Socket, Socket] = [near, far];
    this.#pairs.add(pair);
    far.on('error', () => near.destroy());
    near.on('close', () => {
      this.#pairs.delete(pair);
      far.destroy();
    });
    far.on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  }
}
