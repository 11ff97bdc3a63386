// One room of one connection.
//
//   enter() ──▶ joining ──ack──▶ open ──▶ ended (left, refused, disconnected)
//                  ▲   calls wait, in order     │
//                  └────── hold() ◀─────────────┘ the connection is back: restore(), then the calls go on
//
// Calls made without a connection are not held: they are refused at once, for nobody
// can say how long they would wait.

import { delayMs, pause, type Backoff } from './backoff';
import { protocolError, RelayBoxError } from './errors';
import { PresenceSet, type RoomRequest } from './presence';
import { encode, type Ack, type Payload } from './requests';
import { Subscriptions, type Handler, type Kind, type Request, type Router } from './subscriptions';
import type { JoiningRoom, JsonInput, Message, MessageHandler, Room, Unsubscribe } from './types';

/** What a room needs of its client. */
export interface RoomHost {
  readonly router: Router;
  readonly backoff: Backoff;
  request(type: string, body: object, payload?: Payload): Promise<Ack>;
  /** Tells what no call can be told. */
  report(error: RelayBoxError): void;
  /** The room is no more. */
  ended(room: JoinedRoom): void;
}

const all = '$:subscribe:all';

const kind: Kind = {
  type: (nsp, name) => `${nsp}::${name}`,
  accepts: (name, body) => name === all || body['event'] === name,
  bind: (name) => ({ type: 'room:subscription:bind', fields: { event: name } }),
  unbind: (name) => ({ type: 'room:subscription:unbind', fields: { event: name } }),
};

interface Held {
  run(): void;
  reject(error: RelayBoxError): void;
}

export class JoinedRoom implements Room {
  readonly id: string;
  readonly presence: PresenceSet;
  readonly #host: RoomHost;
  readonly #messages: Subscriptions;
  // Calls that wait for the join; undefined when they need not.
  #held: Held[] | undefined;
  #ended: RelayBoxError | undefined;
  #leaving: Promise<void> | undefined;

  constructor(id: string, host: RoomHost) {
    this.id = id;
    this.#host = host;
    const request: RoomRequest = (type, fields, payload) => this.#call(type, fields, payload);
    this.presence = new PresenceSet(request, host.router);
    this.#messages = new Subscriptions(kind, host.router, ({ type, fields }) => this.#call(type, fields));
  }

  /** The leave under way, for who wants to join again after it. */
  get leaving(): Promise<void> | undefined {
    return this.#leaving;
  }

  subscribe<T = unknown>(event: string, handler: MessageHandler<T>): Promise<Unsubscribe>;
  subscribe<T = unknown>(handler: MessageHandler<T>): Promise<Unsubscribe>;
  subscribe(first: string | Handler, handler?: Handler): Promise<Unsubscribe> {
    if (typeof first === 'function') return this.#messages.subscribe([all], first);
    return this.#messages.subscribe([first], handler as Handler);
  }

  unsubscribe(first?: string | Handler, handler?: Handler): Promise<void> {
    if (typeof first === 'function') return this.#messages.unsubscribe(undefined, first);
    return this.#messages.unsubscribe(first, handler);
  }

  async publish<T extends JsonInput>(event: string, data: T): Promise<Message<T>> {
    const text = encode(data, 'data');
    const ack = await this.#call('publish', { event }, { field: 'data', text });
    return ack.data as Message<T>;
  }

  leave(): Promise<void> {
    if (this.#ended !== undefined) return Promise.resolve();
    return (this.#leaving ??= this.#leave());
  }

  /** Joins, after `before` has settled. Rejects, and ends the room, when the server refuses. */
  async enter(before?: Promise<void>): Promise<void> {
    this.#held = [];
    try {
      if (before !== undefined) await before.catch(() => {});
      await this.#join();
    } catch (error) {
      this.end(error as RelayBoxError);
      throw error;
    }
    this.#resume();
  }

  /** The connection is gone; it may come back. */
  lose(error: RelayBoxError): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const call of held) call.reject(error);
  }

  /** The connection is back: calls wait until {@link restore} is through. */
  hold(): void {
    this.#held ??= [];
  }

  /** Puts in place what the server no longer has. Goes on until it is done, refused, or `signal` ends it. */
  async restore(signal: AbortSignal): Promise<void> {
    try {
      await this.#insist(() => this.#join(), signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#host.report(error as RelayBoxError);
      this.end(error as RelayBoxError);
      return;
    }
    const request: RoomRequest = (type, fields, payload) =>
      this.#insist(() => this.#host.request(type, { roomId: this.id, ...fields }, payload), signal);
    const send = ({ type, fields }: Request): Promise<Ack> => request(type, fields);
    const restoring = [
      ...this.#messages.restore(send),
      ...this.presence.subscriptions.restore(send),
      ...this.presence.restore(request),
    ];
    for (const result of await Promise.allSettled(restoring)) {
      if (result.status === 'rejected' && !signal.aborted) this.#host.report(result.reason);
    }
    if (!signal.aborted) this.#resume();
  }

  /** Nothing is delivered from here on; every call but the taking back of something rejects with `error`. */
  end(error: RelayBoxError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.lose(error);
    this.#messages.detach();
    this.presence.subscriptions.detach();
    this.#host.ended(this);
  }

  async #leave(): Promise<void> {
    try {
      await this.#call('room:leave');
    } catch (error) {
      this.#leaving = undefined;
      // Refused, so still in it. A leave that went down with its connection was one all the same.
      if (error instanceof RelayBoxError && error.code === 'disconnected') this.end(error);
      throw error;
    }
    this.end(
      new RelayBoxError({
        name: 'NotInRoomError',
        code: 'not_in_room',
        status: 409,
        message: `room "${this.id}" was left; call relayBox.join() again`,
      }),
    );
  }

  async #join(): Promise<void> {
    const { data } = await this.#host.request('room:join', { roomId: this.id });
    // The object of today's server or the text of the older ones (wire protocol 6.2).
    const nsp = typeof data === 'string' ? data : (data as { nspRoomId?: unknown } | null)?.nspRoomId;
    if (typeof nsp !== 'string') throw protocolError(`the answer to the join of "${this.id}" names no room`);
    this.#messages.attach(nsp);
    this.presence.subscriptions.attach(nsp);
  }

  #resume(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const call of held) call.run();
  }

  #call(type: string, fields?: object, payload?: Payload): Promise<Ack> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const send = (): Promise<Ack> => this.#host.request(type, { roomId: this.id, ...fields }, payload);
    const held = this.#held;
    if (held === undefined) return send();
    return new Promise((resolve, reject) => {
      held.push({ run: () => void send().then(resolve, reject), reject });
    });
  }

  // Again and again while the server says that it may succeed later.
  async #insist<T>(send: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted(); // what is sent now would go to the next socket
      try {
        return await send();
      } catch (error) {
        if (signal.aborted || !(error instanceof RelayBoxError) || !error.retry) throw error;
        await pause(error.retryAfterMs ?? delayMs(attempt, this.#host.backoff), signal);
      }
    }
  }
}

/**
 * The room before the server has answered: its calls are those of the room, which holds them back
 * until then. Awaiting it gives the room itself, which has no `then`: else `await` would never end.
 */
export class PendingRoom implements JoiningRoom {
  readonly #room: JoinedRoom;
  readonly #joined: Promise<Room>;
  // Whether someone will be told when the join fails: who awaits it, or who made a call that waits for it.
  #watched = false;

  constructor(room: JoinedRoom, joined: Promise<void>, report: (error: RelayBoxError) => void) {
    this.#room = room;
    this.#joined = joined.then(() => room);
    this.#joined.catch((error) => {
      if (!this.#watched) report(error);
    });
  }

  get id(): string {
    return this.#room.id;
  }

  get presence(): PresenceSet {
    return this.#watch().presence;
  }

  subscribe<T = unknown>(event: string, handler: MessageHandler<T>): Promise<Unsubscribe>;
  subscribe<T = unknown>(handler: MessageHandler<T>): Promise<Unsubscribe>;
  subscribe(first: any, handler?: any): Promise<Unsubscribe> {
    return this.#watch().subscribe(first, handler);
  }

  unsubscribe(first?: string | Handler, handler?: Handler): Promise<void> {
    return this.#watch().unsubscribe(first, handler);
  }

  publish<T extends JsonInput>(event: string, data: T): Promise<Message<T>> {
    return this.#watch().publish(event, data);
  }

  leave(): Promise<void> {
    return this.#watch().leave();
  }

  // oxlint-disable-next-line unicorn/no-thenable -- join() is documented both awaited and not
  then<A = Room, B = never>(
    ok?: ((room: Room) => A | PromiseLike<A>) | null,
    failed?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#watched = true;
    return this.#joined.then(ok, failed);
  }

  catch<B = never>(failed?: ((reason: any) => B | PromiseLike<B>) | null): Promise<Room | B> {
    return this.then(null, failed);
  }

  finally(done?: (() => void) | null): Promise<Room> {
    this.#watched = true;
    return this.#joined.finally(done);
  }

  #watch(): JoinedRoom {
    this.#watched = true;
    return this.#room;
  }
}
