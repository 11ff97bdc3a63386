// Who is called for which frame.
//
//   frame.type ─▶ Router ─▶ Topic (one room, one event name) ─▶ [inlet] ─▶ each handler, its own copy
//
// The inlet of presence drops what was told before (roster.ts). The first handler of a topic asks the server for its events (bind), the last one that goes
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

/** What stands between the socket and the handlers of a topic. */
export interface Inlet {
  /** Hands to `tell` what handlers are to be told. */
  hear(body: Record<string, unknown>, tell: (body: Record<string, unknown>) => void): void;
  /** The events of that name are not followed any more. */
  lapsed(name: string): void;
}

const straight: Inlet = { hear: (body, tell) => tell(body), lapsed: () => {} };

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

interface Entry {
  /** Without one the entry keeps the events coming for the SDK itself. */
  handler: Handler | undefined;
}

class Topic {
  readonly #name: string;
  readonly #kind: Kind;
  readonly #inlet: Inlet;
  readonly #entries = new Set<Entry>();
  // The bind that holds; undefined while the events are not wanted.
  #bound: Promise<unknown> | undefined;
  /** The server may still send them: it was never told that they are not wanted. */
  owed = false;
  #type: string | undefined;

  constructor(name: string, kind: Kind, inlet: Inlet) {
    this.#name = name;
    this.#kind = kind;
    this.#inlet = inlet;
  }

  get used(): boolean {
    return this.#entries.size > 0;
  }

  /** Whether the SDK itself wants the events. */
  get kept(): boolean {
    return [...this.#entries].some(({ handler }) => handler === undefined);
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
  async add(handler: Handler | undefined, send: Send): Promise<Unsubscribe> {
    const entry: Entry = { handler };
    this.#entries.add(entry);
    for (;;) {
      const bound = (this.#bound ??= send(this.#kind.bind(this.#name)));
      try {
        await bound;
        break;
      } catch (error) {
        // One that went down with its socket is made good by the reconnect's.
        if (this.#bound !== undefined && this.#bound !== bound && this.#entries.has(entry)) continue;
        this.#entries.delete(entry);
        if (this.#bound === bound) this.#bound = undefined;
        throw error;
      }
    }
    return () => {
      this.#entries.delete(entry);
      return this.#settle(send);
    };
  }

  remove(handler: Handler | undefined, send: Send): Promise<void> {
    for (const entry of this.#entries) {
      if (entry.handler !== undefined && (handler === undefined || entry.handler === handler)) this.#entries.delete(entry);
    }
    return this.#settle(send);
  }

  /** Forgets all handlers; the caller has told the server, or need not. */
  clear(): void {
    this.#entries.clear();
    this.#bound = undefined;
    this.#inlet.lapsed(this.#name);
  }

  /** Asks again on a socket whose server may know nothing of this topic; undefined: nothing to ask. */
  restore(send: Send): Promise<unknown> | undefined {
    if (!this.used && !this.owed) return undefined;
    const { used } = this;
    // Who subscribes meanwhile asks for itself, behind the room: this one may be refused since the room is gone.
    this.#bound = undefined;
    this.owed = used;
    const asked = send(used ? this.#kind.bind(this.#name) : this.#kind.unbind(this.#name));
    asked.then(() => {
      if (!this.used || !used) return;
      this.#bound = asked;
      this.owed = false;
    }).catch(() => {}); // the caller hears of it
    return asked;
  }

  deliver(body: Record<string, unknown>): void {
    if (this.#kind.accepts(this.#name, body)) this.#inlet.hear(body, this.tell);
  }

  readonly tell = (body: Record<string, unknown>): void => {
    const entries = [...this.#entries].filter(({ handler }) => handler !== undefined);
    for (const [i, entry] of entries.entries()) {
      if (!this.#entries.has(entry) || entry.handler === undefined) continue;
      // Each gets its own, the last one the frame's: what one does to its event must not reach another.
      call(entry.handler, [i < entries.length - 1 ? structuredClone(body) : body]);
    }
  };

  async #settle(send: Send): Promise<void> {
    if (this.#entries.size > 0 || (this.#bound === undefined && !this.owed)) return;
    this.#bound = undefined;
    this.#inlet.lapsed(this.#name);
    this.owed = true;
    this.owed = !(await quietly(send(this.#kind.unbind(this.#name))));
  }
}

/** The subscriptions of one kind in one room. */
export class Subscriptions {
  readonly #kind: Kind;
  readonly #router: Router;
  readonly #send: Send;
  readonly #inlet: Inlet;
  readonly #topics = new Map<string, Topic>();
  #nsp: string | undefined;

  constructor(kind: Kind, router: Router, send: Send, inlet: Inlet = straight) {
    this.#kind = kind;
    this.#router = router;
    this.#send = send;
    this.#inlet = inlet;
  }

  /** Whether anyone wants events, or those of that name. */
  used(name?: string): boolean {
    if (name !== undefined) return this.#topics.get(name)?.used ?? false;
    return [...this.#topics.values()].some((topic) => topic.used);
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
    return this.follow(names, handler);
  }

  /** The same; without a handler it only keeps the events coming. */
  async follow(names: readonly string[], handler?: Handler): Promise<Unsubscribe> {
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

  /** Calls the handlers of an event that no frame brought. */
  tell(name: string, body: object): void {
    this.#topics.get(name)?.tell(body as Record<string, unknown>);
  }

  /** The topics with handlers, as requests to send again; `send` goes past the room's queue. */
  restore(send: Send): Promise<unknown>[] {
    return [...this.#topics.values()].map((topic) => topic.restore(send)).filter((request) => request !== undefined);
  }

  async #unsubscribeAll(): Promise<void> {
    const topics = [...this.#topics.values()].filter((topic) => topic.used);
    if (topics.some((topic) => topic.kept)) {
      await Promise.all(topics.map((topic) => topic.remove(undefined, this.#send)));
      return;
    }
    if (topics.length === 0) return;
    for (const topic of topics) topic.clear();
    for (const topic of topics) topic.owed = true;
    const told = await quietly(this.#send(this.#kind.unbind()));
    for (const topic of topics) topic.owed = !told;
  }

  #topic(name: string): Topic {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    const topic = new Topic(name, this.#kind, this.#inlet);
    this.#topics.set(name, topic);
    if (this.#nsp !== undefined) topic.attach(this.#router, this.#nsp);
    return topic;
  }
}

// Without a connection or a room there is nothing to take back: that is what was asked for.
// Answers whether the server knows.
async function quietly(request: Promise<unknown>): Promise<boolean> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof RelayBoxError) || (error.code !== 'disconnected' && error.code !== 'not_in_room')) throw error;
    return error.code !== 'disconnected';
  }
  return true;
}
