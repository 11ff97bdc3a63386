// Who is called for which frame.
//
//   frame.type ─▶ Router ─▶ Topic (one room, one event name) ─▶ each handler, its own copy
//
// The first handler of a topic asks the server for its events (bind), the last one that goes
// says that they are not wanted any more (unbind). A handler is in place before the request
// leaves, so that no event is lost between the server's answer and the caller's hearing of it.

import { call } from './emitter';
import { invalid, RelayBoxError } from './errors';
import type { Unsubscribe } from './types';

export type Handler = (payload: any) => void;

/** How one kind of event, messages or presence, is asked for in one room. */
export interface Kind {
  /** The `type` of the frames that carry event `name`. */
  type(nsp: string, name: string): string;
  /** Whether a frame's body is of that event: room ids may hold `:`, so that two topics can have one type. */
  accepts(name: string, body: Record<string, unknown>): boolean;
  bind(name: string): Request;
  /** Without a name: everything of this kind. */
  unbind(name?: string): Request;
}

export interface Request {
  type: string;
  fields: object;
}

/** Sends a request in the room, or has it wait for the room. */
export type Send = (request: Request) => Promise<unknown>;

/** Finds the topics of a frame by its `type`. */
export class Router {
  readonly #topics = new Map<string, Set<Topic>>();

  add(type: string, topic: Topic): void {
    this.#topics.set(type, (this.#topics.get(type) ?? new Set()).add(topic));
  }

  remove(type: string, topic: Topic): void {
    const topics = this.#topics.get(type);
    topics?.delete(topic);
    if (topics?.size === 0) this.#topics.delete(type);
  }

  dispatch(type: string, body: Record<string, unknown>): void {
    for (const topic of [...(this.#topics.get(type) ?? [])]) topic.deliver(body);
  }
}

class Topic {
  readonly #name: string;
  readonly #kind: Kind;
  readonly #entries = new Set<{ handler: Handler }>();
  // The bind that holds; undefined while the events are not wanted.
  #bound: Promise<unknown> | undefined;
  #type: string | undefined;

  constructor(name: string, kind: Kind) {
    this.#name = name;
    this.#kind = kind;
  }

  get used(): boolean {
    return this.#entries.size > 0;
  }

  attach(router: Router, nsp: string): void {
    this.detach(router);
    this.#type = this.#kind.type(nsp, this.#name);
    router.add(this.#type, this);
  }

  detach(router: Router): void {
    if (this.#type !== undefined) router.remove(this.#type, this);
    this.#type = undefined;
  }

  /** Returns what takes the handler back; its promise settles with the server's answer. */
  async add(handler: Handler, send: Send): Promise<Unsubscribe> {
    const entry = { handler };
    this.#entries.add(entry);
    const bound = (this.#bound ??= send(this.#kind.bind(this.#name)));
    try {
      await bound;
    } catch (error) {
      this.#entries.delete(entry);
      if (this.#bound === bound) this.#bound = undefined;
      throw error;
    }
    return () => {
      this.#entries.delete(entry);
      return this.#settle(send);
    };
  }

  remove(handler: Handler | undefined, send: Send): Promise<void> {
    for (const entry of this.#entries) {
      if (handler === undefined || entry.handler === handler) this.#entries.delete(entry);
    }
    return this.#settle(send);
  }

  /** Forgets all handlers; the caller has told the server, or need not. */
  clear(): void {
    this.#entries.clear();
    this.#bound = undefined;
  }

  /** Asks again on a connection that knows nothing of this topic. */
  rebind(send: Send): Promise<unknown> {
    const bound = send(this.#kind.bind(this.#name));
    this.#bound = bound;
    return bound;
  }

  deliver(body: Record<string, unknown>): void {
    if (!this.#kind.accepts(this.#name, body)) return;
    const entries = [...this.#entries];
    for (const [i, entry] of entries.entries()) {
      if (!this.#entries.has(entry)) continue;
      // Each gets its own, the last one the frame's: what one does to its event must not reach another.
      call(entry.handler, [i < entries.length - 1 ? structuredClone(body) : body]);
    }
  }

  async #settle(send: Send): Promise<void> {
    if (this.#entries.size > 0 || this.#bound === undefined) return;
    this.#bound = undefined;
    await quietly(send(this.#kind.unbind(this.#name)));
  }
}

/** The subscriptions of one kind in one room. */
export class Subscriptions {
  readonly #kind: Kind;
  readonly #router: Router;
  readonly #send: Send;
  readonly #topics = new Map<string, Topic>();
  #nsp: string | undefined;

  constructor(kind: Kind, router: Router, send: Send) {
    this.#kind = kind;
    this.#router = router;
    this.#send = send;
  }

  /** The room's name on this connection is known: events can come. */
  attach(nsp: string): void {
    this.#nsp = nsp;
    for (const topic of this.#topics.values()) topic.attach(this.#router, nsp);
  }

  /** The room is no more: nothing is delivered from here on. */
  detach(): void {
    this.#nsp = undefined;
    for (const topic of this.#topics.values()) {
      topic.clear();
      topic.detach(this.#router);
    }
    this.#topics.clear();
  }

  /** One handler for several names: all of them, or none and the first error. */
  async subscribe(names: readonly string[], handler: Handler): Promise<Unsubscribe> {
    if (typeof handler !== 'function') throw invalid('the handler is not a function', 'handler');
    const results = await Promise.allSettled(names.map((name) => this.#topic(name).add(handler, this.#send)));
    const undo = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const unsubscribe = async (): Promise<void> => {
      await Promise.all(undo.map((one) => one()));
    };
    const failed = results.find((result) => result.status === 'rejected');
    if (failed === undefined) return unsubscribe;
    await unsubscribe().catch(() => {});
    throw failed.reason;
  }

  async unsubscribe(name: string | undefined, handler: Handler | undefined): Promise<void> {
    if (name === undefined && handler === undefined) return this.#unsubscribeAll();
    const topics = name === undefined ? [...this.#topics.values()] : [this.#topics.get(name)];
    await Promise.all(topics.map((topic) => topic?.remove(handler, this.#send)));
  }

  /** The topics with handlers, as requests to send again; `send` goes past the room's queue. */
  restore(send: Send): Promise<unknown>[] {
    return [...this.#topics.values()].filter((topic) => topic.used).map((topic) => topic.rebind(send));
  }

  async #unsubscribeAll(): Promise<void> {
    const used = [...this.#topics.values()].some((topic) => topic.used);
    for (const topic of this.#topics.values()) topic.clear();
    if (used) await quietly(this.#send(this.#kind.unbind()));
  }

  #topic(name: string): Topic {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    const topic = new Topic(name, this.#kind);
    this.#topics.set(name, topic);
    if (this.#nsp !== undefined) topic.attach(this.#router, this.#nsp);
    return topic;
  }
}

// Without a connection or a room there is nothing to take back: that is what was asked for.
async function quietly(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (error instanceof RelayBoxError && (error.code === 'disconnected' || error.code === 'not_in_room')) return;
    throw error;
  }
}
