// The presence set of one room: its requests, its events, and what this connection has in it.

import { encode, type Ack, type Payload } from './requests';
import { RelayBoxError } from './errors';
import { Subscriptions, type Handler, type Kind, type Router, type Send } from './subscriptions';
import type {
  GetOptions,
  JsonInput,
  Member,
  MemberList,
  Presence,
  PresenceEventName,
  PresenceHandler,
  Unsubscribe,
} from './types';

/** Sends a request of the room this set is in. */
export type RoomRequest = (type: string, fields?: object, payload?: Payload) => Promise<Ack>;

const kind: Kind = {
  type: (nsp, name) => `${nsp}:$:presence:${name}`,
  accepts: (name, body) => body['event'] === name,
  bind: (name) => ({ type: 'room:presence:subscribe', fields: { event: name } }),
  unbind: (name) =>
    name === undefined
      ? { type: 'room:presence:unsubscribe:all', fields: {} }
      : { type: 'room:presence:unsubscribe', fields: { event: name } },
};

const allEvents: readonly PresenceEventName[] = ['join', 'update', 'leave'];

// Our membership as far as we know: the data as it was encoded, undefined text for none.
interface Membership {
  text: string | undefined;
}

export class PresenceSet implements Presence {
  readonly #request: RoomRequest;
  readonly subscriptions: Subscriptions;
  #membership: Membership | undefined;
  // Acknowledgements may overtake each other: only the latest call decides what we have.
  #calls = 0;
  #decidedBy = 0;

  constructor(request: RoomRequest, router: Router) {
    this.#request = request;
    const send: Send = ({ type, fields }) => request(type, fields);
    this.subscriptions = new Subscriptions(kind, router, send);
  }

  async join(data?: JsonInput): Promise<void> {
    await this.#enter('room:presence:join', encode(data, 'data'));
  }

  async update(data: JsonInput): Promise<void> {
    await this.#enter('room:presence:update', encode(data, 'data'));
  }

  async leave(data?: JsonInput): Promise<void> {
    const text = encode(data, 'data');
    const call = ++this.#calls;
    const before = this.#membership;
    // From the call on, whatever becomes of it: a reconnect must not bring back who wanted to go.
    this.#decide(call, undefined);
    try {
      await this.#request('room:presence:leave', {}, { field: 'userData', text });
    } catch (error) {
      if (!(error instanceof RelayBoxError)) throw error;
      if (error.code === 'not_in_room') return; // the room was left, and the membership with it
      if (error.status !== undefined && this.#decidedBy === call) this.#membership = before;
      throw error;
    }
  }

  async get<T = unknown>(options: GetOptions = {}): Promise<MemberList<T>> {
    const { data, revision } = await this.#request('room:presence:get', { limit: options.limit });
    const members = (Array.isArray(data) ? data : []) as Member<T>[];
    // Not enumerable: the list stays an array like any other to those who compare or copy it.
    return Object.defineProperty(members, 'revision', { value: revision ?? 0 }) as MemberList<T>;
  }

  async getCount(): Promise<number> {
    const { data } = await this.#request('room:presence:count');
    return Number(data);
  }

  subscribe<T = unknown>(event: PresenceEventName, handler: PresenceHandler<T>): Promise<Unsubscribe>;
  subscribe<T = unknown>(handler: PresenceHandler<T>): Promise<Unsubscribe>;
  subscribe(first: PresenceEventName | Handler, handler?: Handler): Promise<Unsubscribe> {
    if (typeof first === 'function') return this.subscriptions.subscribe(allEvents, first);
    return this.subscriptions.subscribe([first], handler as Handler);
  }

  unsubscribe(first?: PresenceEventName | Handler, handler?: Handler): Promise<void> {
    if (typeof first === 'function') return this.subscriptions.unsubscribe(undefined, first);
    return this.subscriptions.unsubscribe(first, handler);
  }

  /** Joins again, with the last data, where this connection was a member. */
  restore(request: RoomRequest): Promise<unknown>[] {
    const membership = this.#membership;
    if (membership === undefined) return [];
    return [request('room:presence:join', {}, { field: 'userData', text: membership.text })];
  }

  async #enter(type: string, text: string | undefined): Promise<void> {
    const call = ++this.#calls;
    await this.#request(type, {}, { field: 'userData', text });
    this.#decide(call, { text });
  }

  #decide(call: number, membership: Membership | undefined): void {
    if (call < this.#decidedBy) return;
    this.#decidedBy = call;
    this.#membership = membership;
  }
}
