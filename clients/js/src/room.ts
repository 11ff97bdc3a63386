// One room of one connection.
//
//   enter() ──▶ joining ──ack──▶ open ──▶ ended (left, refused, disconnected)
//                  │               │ ▲
//            calls wait,      lose() restore(), then the calls that waited
//             in order             ▼ │
//                                 away: calls wait, each until its own deadline
//
// restore() makes anew only what the server no longer has. How it learns that: the requests that
// subscribe do no harm where the subscription was kept, and are refused with NotInRoomError where the room was
// not. A room without subscriptions is told by its membership, and joined anew where there is neither.

import { delayMs, pause, type Backoff, type Pace } from './backoff';
import { protocolError, RelayBoxError } from './errors';
import { PresenceSet, type RoomRequest } from './presence';
import { encode, type Ack, type Payload, type Queue, type Requests } from './requests';
import { Subscriptions, type Handler, type Kind, type Router } from './subscriptions';
import type { JoiningRoom, JsonInput, Message, MessageHandler, Restored, Room, Unsubscribe } from './types';

/** What a room needs of its client. */
export interface RoomHost {
  readonly router: Router;
  readonly backoff: Backoff;
  readonly requests: Requests;
  /** This connection's id. */
  self(): string | undefined;
  /** Tells what no call can be told. */
  report(error: RelayBoxError): void;
  /** The room is no more; `told` says whether the server knows. */
  ended(room: JoinedRoom, told: boolean): void;
}

/** One socket that came after a lost one. */
export interface Recovery {
  /** The end of that socket. */
  readonly signal: AbortSignal;
  /** For joins, which the server lets in few of. */
  readonly pace: Pace;
  /** The server has kept nothing: a room has told so. */
  gone: boolean;
  readonly restored: Restored;
}

const all = '$:subscribe:all';

const kind: Kind = {
  type: (nsp, name) => `${nsp}::${name}`,
  accepts: (name, body) => name === all || body['event'] === name,
  bind: (name) => ({ type: 'room:subscription:bind', fields: { event: name } }),
  unbind: (name) => ({ type: 'room:subscription:unbind', fields: { event: name } }),
};

/** Doing them twice does no harm, so that they are sent again when their socket is lost. */
const harmless = /:(leave|get|count|unbind|unsubscribe)(:all)?$/;

export class JoinedRoom implements Room {
  readonly id: string;
  readonly presence: PresenceSet;
  readonly #host: RoomHost;
  readonly #messages: Subscriptions;
  #phase: 'joining' | 'open' | 'away' = 'joining';
  // Calls that wait for the room, unless it is open.
  readonly #waiting: Queue = new Map();
  #ended: RelayBoxError | undefined;
  #leaving: Promise<void> | undefined;

  constructor(id: string, host: RoomHost) {
    this.id = id;
    this.#host = host;
    this.presence = new PresenceSet({
      router: host.router,
      self: host.self,
      request: (type, fields, payload) => this.#call(type, fields, payload),
      report: host.report,
    });
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

  /** Whether there is something to restore. */
  get away(): boolean {
    return this.#phase === 'away';
  }

  /** Joins, after `before` has settled. Rejects, and ends the room, when the server refuses. */
  async enter(before?: Promise<void>): Promise<void> {
    try {
      if (before !== undefined) await before.catch(() => {});
      await this.#join();
    } catch (error) {
      this.end(error as RelayBoxError);
      throw error;
    }
    this.#open();
  }

  /** The socket is gone; another one is on its way. */
  lose(): void {
    if (this.#phase === 'joining') return; // its join is sent again
    this.#phase = 'away';
    this.presence.lose();
  }

  /** Puts in place what the server no longer has. Goes on until it is done, refused, or the socket ends. */
  async restore(recovery: Recovery): Promise<void> {
    while (this.away && this.#ended === undefined && !recovery.signal.aborted) {
      // A leave has its turn first; one that is refused leaves the room to be restored.
      if (this.#leaving === undefined) await this.#restore(recovery);
      else await this.#leaving.catch(() => {});
    }
  }

  async #restore(recovery: Recovery): Promise<void> {
    const { signal, restored } = recovery;
    const insist = <T>(work: () => Promise<T>): Promise<T> => this.#insist(work, signal);
    let unsure: boolean;
    try {
      unsure = await this.#return(recovery);
    } catch (error) {
      if (this.#over(signal)) return;
      this.#host.report(error as RelayBoxError);
      this.end(error as RelayBoxError);
      return;
    }
    try {
      const enter = (): Promise<void> => (unsure ? this.#rejoin(recovery) : Promise.resolve());
      if (await this.presence.restore(this.#request, insist, enter)) restored.memberships.push(this.id);
    } catch (error) {
      if (!this.#over(signal)) this.#host.report(error as RelayBoxError);
    }
    if (!this.#over(signal)) this.#open();
  }

  /** Nothing is delivered from here on; every call but the taking back of something rejects with `error`. */
  end(error: RelayBoxError, told = true): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#host.requests.drop(this.#waiting, error);
    this.#messages.detach();
    this.presence.end();
    this.#host.ended(this, told);
  }

  async #leave(): Promise<void> {
    try {
      // Not behind what waits for a room that is put in place again: that would only be to leave it.
      await (this.#phase === 'away' ? this.#request('room:leave') : this.#call('room:leave'));
    } catch (error) {
      this.#leaving = undefined;
      // Refused, so still in it. A leave that went down with its connection was one all the same.
      if (error instanceof RelayBoxError && error.code === 'disconnected') this.end(error, false);
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

  // The room and its subscriptions. Answers whether the room may still not be there: only its membership can tell.
  async #return(recovery: Recovery): Promise<boolean> {
    const { signal } = recovery;
    const subscribed = this.#messages.used() || this.presence.subscriptions.used();
    if (!recovery.gone) {
      if (subscribed && (await this.#subscribe(signal))) return false;
      if (!subscribed && this.presence.entered) return true;
      recovery.gone ||= subscribed;
    }
    await this.#rejoin(recovery);
    if (recovery.gone) recovery.restored.rooms.push(this.id);
    await this.#subscribe(signal);
    return false;
  }

  async #rejoin({ signal, pace }: Recovery): Promise<void> {
    await pace.turn(signal);
    await this.#insist(() => this.#join(), signal);
  }

  // Answers whether the server still has the room.
  async #subscribe(signal: AbortSignal): Promise<boolean> {
    const send = ({ type, fields }: { type: string; fields: object }): Promise<Ack> => this.#insist(() => this.#request(type, fields), signal);
    const results = await Promise.allSettled([...this.#messages.restore(send), ...this.presence.subscriptions.restore(send)]);
    const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as RelayBoxError] : []));
    signal.throwIfAborted();
    if (errors.some(({ code }) => code === 'not_in_room')) return false;
    for (const error of errors) this.#host.report(error);
    return true;
  }

  async #join(): Promise<void> {
    const { data } = await this.#host.requests.request('room:join', { roomId: this.id }, { again: this.#phase === 'joining' });
    // The object of today's server or the text of the older ones (wire protocol 6.2).
    const nsp = typeof data === 'string' ? data : (data as { nspRoomId?: unknown } | null)?.nspRoomId;
    if (typeof nsp !== 'string') throw protocolError(`the answer to the join of "${this.id}" names no room`);
    this.#messages.attach(nsp);
    this.presence.subscriptions.attach(nsp);
  }

  #open(): void {
    this.#phase = 'open';
    this.presence.settled();
    this.#host.requests.flush(this.#waiting);
  }

  // Past what waits.
  readonly #request: RoomRequest = (type, fields, payload) =>
    this.#host.requests.request(type, { roomId: this.id, ...fields }, { payload, again: type === 'room:leave' });

  #call(type: string, fields?: object, payload?: Payload): Promise<Ack> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const queue = this.#phase === 'open' ? undefined : this.#waiting;
    return this.#host.requests.request(type, { roomId: this.id, ...fields }, { payload, queue, again: harmless.test(type) });
  }

  // The rest of a restore is for nothing.
  #over(signal: AbortSignal): boolean {
    return signal.aborted || this.#leaving !== undefined || this.#ended !== undefined;
  }

  // Again and again while the server says that it may succeed later.
  async #insist<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted(); // what is sent now would go to the next socket
      if (this.#over(signal)) throw this.#ended ?? new Error('the room is being left');
      try {
        return await work();
      } catch (error) {
        if (this.#over(signal) || !(error instanceof RelayBoxError) || !error.retry) throw error;
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
