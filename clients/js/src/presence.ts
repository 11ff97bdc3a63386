// The presence set of one room: its requests, its events, and what this connection has in it.

import { encode, type Ack, type Payload } from './requests';
import { RelayBoxError } from './errors';
import { MembersMap } from './members';
import { Roster } from './roster';
import { Subscriptions, type Handler, type Kind, type Router, type Send } from './subscriptions';
import type {
  GetOptions,
  JsonInput,
  Member,
  MemberList,
  Members,
  Presence,
  PresenceEventName,
  PresenceHandler,
  Unsubscribe,
} from './types';

/** Sends a request of the room this set is in. */
export type RoomRequest = (type: string, fields?: object, payload?: Payload) => Promise<Ack>;

/** Does it again while the server says that it may succeed later. */
export type Insist = <T>(work: () => Promise<T>) => Promise<T>;

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

/** What the set needs of its room. */
export interface PresenceHost {
  readonly router: Router;
  /** This connection's id. */
  self(): string | undefined;
  request: RoomRequest;
  /** Tells what no call can be told. */
  report(error: RelayBoxError): void;
}

export class PresenceSet implements Presence {
  readonly #request: RoomRequest;
  readonly #self: () => string | undefined;
  readonly #roster: Roster;
  readonly members: Members;
  readonly subscriptions: Subscriptions;
  #membership: Membership | undefined;
  // A leave that the server may not know of, with its data.
  #owed: Membership | undefined;
  // Acknowledgements may overtake each other: only the latest call decides what we have.
  #calls = 0;
  #decidedBy = 0;

  constructor({ router, self, request, report }: PresenceHost) {
    this.#request = request;
    this.#self = self;
    const members: MembersMap = new MembersMap(
      (this.#roster = new Roster({
        follows: (name) => this.subscriptions.used(name),
        tell: (event) => this.subscriptions.tell(event.event, event),
        changed: (id, before) => members.changed(id, before),
      })),
      { open: () => this.#follow(), report },
    );
    this.members = members;
    const send: Send = ({ type, fields }) => request(type, fields);
    this.subscriptions = new Subscriptions(kind, router, send, this.#roster);
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
    const owed = (this.#owed = { text });
    try {
      await this.#request('room:presence:leave', {}, { field: 'userData', text });
      if (this.#owed === owed) this.#owed = undefined;
    } catch (error) {
      if (!(error instanceof RelayBoxError)) throw error;
      if (error.code === 'not_in_room') return; // the room was left, and the membership with it
      if (error.status !== undefined && this.#decidedBy === call) {
        this.#membership = before;
        this.#owed = undefined;
      }
      throw error;
    }
  }

  async get<T = unknown>(options: GetOptions = {}): Promise<MemberList<T>> {
    if (options.limit !== undefined) return list<T>(await this.#request('room:presence:get', { limit: options.limit }));
    return this.#roster.fetch(
      async () => list(await this.#request('room:presence:get')),
      this.#roster.learn,
    ) as Promise<MemberList<T>>;
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

  /** Whether this connection is a member, as far as we know. */
  get entered(): boolean {
    return this.#membership !== undefined;
  }

  /** The socket is gone. */
  lose(): void {
    this.#roster.lose();
  }

  /** The room is in place again: what an outage hid was told as far as it could be. */
  settled(): void {
    this.#roster.settled();
  }

  /** The room is no more. */
  end(): void {
    void this.members.close();
    this.subscriptions.detach();
    this.#roster.end();
    this.#membership = this.#owed = undefined;
  }

  /**
   * After an outage, once the room and its subscriptions are in place: handlers are told what they missed, and
   * what the server no longer has of our membership is made anew. Answers whether that was so. A join that was
   * kept must not be sent again, since it would be an event, also where the answer to one was lost: hence the list.
   * `enter` sees to it that a join finds the room.
   */
  async restore(request: RoomRequest, insist: Insist, enter: () => Promise<void>): Promise<boolean> {
    const send = (word: string, { text }: Membership): Promise<Ack> => request(`room:presence:${word}`, {}, { field: 'userData', text });
    const owed = this.#owed;
    if (this.#membership === undefined && owed !== undefined) {
      await insist(() => send('leave', owed));
      if (this.#owed === owed) this.#owed = undefined;
    }
    let anew = false;
    await insist(async () => {
      if (this.#membership === undefined && !this.subscriptions.used()) return;
      const there = await this.#catchUp(request);
      const membership = this.#membership;
      if (membership === undefined || there === true) return;
      if (there === undefined && (await isMember(send('update', membership)))) return;
      if (!anew) await enter();
      anew = true;
      await send('join', membership);
    });
    return anew;
  }

  // Whether we are a member; undefined where the room is too large to be told.
  async #catchUp(request: RoomRequest): Promise<boolean | undefined> {
    try {
      const all = await this.#roster.fetch(async () => list(await request('room:presence:get')), this.#roster.catchUp);
      return all.some(({ connectionId }) => connectionId === this.#self());
    } catch (error) {
      if (error instanceof RelayBoxError && error.code === 'too_large') return undefined;
      throw error;
    }
  }

  // For `members`: its events, and its first list.
  async #follow(): Promise<Unsubscribe> {
    const undo = await this.subscriptions.follow(allEvents);
    try {
      // A list that comes in an outage is left to restore().
      do await this.#roster.fetch(async () => list(await this.#request('room:presence:get')), this.#roster.learn);
      while (!this.#roster.whole);
    } catch (error) {
      if (!this.#roster.whole) {
        await undo().catch(() => {});
        throw error;
      }
    }
    return undo;
  }

  async #enter(type: string, text: string | undefined): Promise<void> {
    const call = ++this.#calls;
    await this.#request(type, {}, { field: 'userData', text });
    this.#owed = undefined;
    this.#decide(call, { text });
  }

  #decide(call: number, membership: Membership | undefined): void {
    if (call < this.#decidedBy) return;
    this.#decidedBy = call;
    this.#membership = membership;
  }
}

// Not enumerable: the list stays an array like any other to those who compare or copy it.
function list<T>({ data, revision }: Ack): MemberList<T> {
  const members = (Array.isArray(data) ? data : []) as Member<T>[];
  return Object.defineProperty(members, 'revision', { value: revision ?? 0 }) as MemberList<T>;
}

async function isMember(update: Promise<Ack>): Promise<boolean> {
  try {
    await update;
    return true;
  } catch (error) {
    if (error instanceof RelayBoxError && (error.code === 'not_member' || error.code === 'not_in_room')) return false;
    throw error;
  }
}
