// The words that users write: options, what the calls take, what handlers get.
// Wire shapes are sections 2.3, 7 and 8 of the wire protocol page.

import type { RelayBoxError } from './errors';

/** What can be sent as data: any JSON value. A function inside an object is left out, as `JSON.stringify` does. */
export type JsonInput = string | number | boolean | null | object;

/** The three kinds of presence event. */
export type PresenceEventName = 'join' | 'update' | 'leave';

/** Why a membership ended; further words may come. */
export type LeaveReason =
  | 'left'
  | 'room_left'
  | 'closed'
  | 'timeout'
  | 'node_lost'
  | 'kicked'
  | 'expired'
  | 'unknown'
  | (string & {});

/** One change of a presence set, as subscribers are told it. */
export interface PresenceEvent<T = unknown> {
  event: PresenceEventName;
  /** When it happened: ISO 8601, UTC, with milliseconds. */
  timestamp: string;
  /** The member's connection, `appId:connectionPart`. */
  id: string;
  clientId: string;
  /** The same text as `id`. */
  connectionId: string;
  /** The room's change counter; each event's is one more than that of the event before it. */
  revision: number;
  /** What was sent with the call; absent when nothing was. */
  data?: T;
  /** Leaves only. */
  reason?: LeaveReason;
}

/** One member of a presence set, as `presence.get()` lists it. `timestamp` is when it joined. */
export interface Member<T = unknown> {
  id: string;
  clientId: string;
  connectionId: string;
  event: 'join';
  timestamp: string;
  /** The room's revision that its latest change made. */
  revision: number;
  data?: T;
}

/** A member in `presence.members`. `timestamp` is when it joined, `revision` that of its latest change. */
export type PresentMember<T = unknown> = Readonly<Omit<Member<T>, 'event'>>;

/** What changed in `presence.members` since the last call; who came and went between two calls is not told. */
export interface MembersChange<T = unknown> {
  joined: PresentMember<T>[];
  updated: PresentMember<T>[];
  /** As they were last. */
  left: PresentMember<T>[];
}

/**
 * Who is present, by connection id, in the order of joining. It follows the room by itself from the moment
 * that it is asked for, over reconnects too. During an outage it stays as it was.
 * Its objects are everyone's: do not change them; an update puts a new one in the place of the old.
 */
export interface Members<T = unknown> extends ReadonlyMap<string, PresentMember<T>> {
  /** The revision of the room at which the map is true; 0: an empty room, or not known yet. */
  readonly revision: number;
  /** Whether the map is what the server says: false before the first list, and from a loss on until it has caught up. */
  readonly live: boolean;
  /** Resolves with the map once it is true; rejects with what the server said. After that it can be called again. */
  ready(): Promise<Members<T>>;
  /**
   * Calls `listener` after changes, once for all that came with one frame: the first list, and what an
   * outage hid, are one call each. Returns what takes it back.
   */
  onChange(listener: (change: MembersChange<T>, members: Members<T>) => void): () => void;
  /** Follows no more, and forgets everyone; the next `ready()` or `onChange()` begins anew. */
  close(): Promise<void>;
}

/** The members, newest join first, and the revision of the room at which the list is true. */
export type MemberList<T = unknown> = Member<T>[] & { readonly revision: number };

/** What `room.publish` sends and what `room.subscribe` handlers get. */
export interface Message<T = unknown> {
  id: string;
  event: string;
  body: T;
  /** Both are `null` where there is none: no clientId, a publish over HTTP. */
  sender: { clientId: string | null; connectionId: string | null };
  /** Unix milliseconds. */
  timestamp: number;
}

/** Takes a subscription back. Resolves once the server has taken note; never rejects because the connection is gone. */
export type Unsubscribe = () => Promise<void>;

export type PresenceHandler<T = unknown> = (event: PresenceEvent<T>) => void;
export type MessageHandler<T = unknown> = (message: Message<T>) => void;

export interface GetOptions {
  /** At most so many members, the newest joins; all without it. */
  limit?: number;
}

/** The presence set of one room. Calls made while the room is still joining wait for it, in order. */
export interface Presence {
  /** A live map of who is present. Asking for it begins nothing: `ready()` and `onChange()` do. */
  readonly members: Members;
  /** Makes this connection a member, with `data`; again: replaces its data. Needs a `clientId`. */
  join(data?: JsonInput): Promise<void>;
  /** Replaces this member's data. Rejects with `not_member` when this connection is not a member. */
  update(data: JsonInput): Promise<void>;
  /** Ends the membership; `data` replaces its last data in the leave event. Does nothing when not a member. */
  leave(data?: JsonInput): Promise<void>;
  /** The members now. The result's `revision` tells which events are older than the list. */
  get<T = unknown>(options?: GetOptions): Promise<MemberList<T>>;
  /** How many connections are present. */
  getCount(): Promise<number>;
  /** Calls `handler` for each event of that kind from here on; without a kind, for all three. */
  subscribe<T = unknown>(event: PresenceEventName, handler: PresenceHandler<T>): Promise<Unsubscribe>;
  subscribe<T = unknown>(handler: PresenceHandler<T>): Promise<Unsubscribe>;
  /** Takes back: everything, one kind, one handler, or one handler of one kind. */
  unsubscribe<T = never>(event?: PresenceEventName, handler?: PresenceHandler<T>): Promise<void>;
  unsubscribe<T = never>(handler: PresenceHandler<T>): Promise<void>;
}

/** A room that was joined. One object for each room, however often it is joined, until it is left. */
export interface Room {
  /** The room's id, as given to `join`. */
  readonly id: string;
  readonly presence: Presence;
  /** Calls `handler` for each message with that event name; without one, for every message of the room. */
  subscribe<T = unknown>(event: string, handler: MessageHandler<T>): Promise<Unsubscribe>;
  subscribe<T = unknown>(handler: MessageHandler<T>): Promise<Unsubscribe>;
  /** Takes back: everything, one event name, one handler, or one handler of one event name. */
  unsubscribe<T = never>(event?: string, handler?: MessageHandler<T>): Promise<void>;
  unsubscribe<T = never>(handler: MessageHandler<T>): Promise<void>;
  /** Sends a message to everyone who subscribes to `event` here, this connection included. */
  publish<T extends JsonInput>(event: string, data: T): Promise<Message<T>>;
  /** Leaves the room: its subscriptions end and, with a leave event, the membership. */
  leave(): Promise<void>;
}

/**
 * What `relayBox.join()` gives at once: the room, whose calls wait for the join and fail with its
 * error, and a promise of the room.
 */
export interface JoiningRoom extends Room, Pick<Promise<Room>, 'then' | 'catch' | 'finally'> {}

export interface CreateOptions {
  /** `public` is the only one that the server has. */
  visibility?: string;
  password?: string;
  roomName?: string;
}

export interface CreatedRoom {
  id: string;
  uuid: string;
  visibility: string;
}

/** What the server says first on every socket. */
export interface ConnectionInfo {
  /** `appId:connectionPart`; public: it is `id` in presence events. */
  connectionId: string;
  /** Always text, whatever was given; `undefined` for a connection without one. */
  clientId: string | undefined;
  /** The node that holds the socket. */
  node: string | undefined;
  /** How long, in milliseconds, a lost socket keeps its memberships. */
  graceMs: number | undefined;
}

export type ConnectionState = 'idle' | 'connecting' | 'connected' | 'reconnecting';

export interface DisconnectInfo {
  /** The close code; 1005 after `disconnect()`, 1006 when the link just broke. */
  code: number;
  reason: string;
  /** Whether the SDK goes on trying; false after `disconnect()`. */
  reconnecting: boolean;
}

/** What a reconnect found. The arrays hold room ids. */
export interface Restored {
  /** The server had kept everything: nobody saw a leave, and nothing had to be made anew. */
  resumed: boolean;
  /** Rooms that had to be joined anew. */
  rooms: string[];
  /** Presence sets that had to be joined anew: there, others saw this connection leave and join. */
  memberships: string[];
}

/** The events of `relayBox.connection` and the arguments of their handlers. */
export interface ConnectionEventMap {
  /** A socket is being opened, at first or again. */
  connecting: [];
  /** The server has acknowledged the connection. */
  connect: [info: ConnectionInfo];
  disconnect: [info: DisconnectInfo];
  /** What no call could be told: an attempt that failed, a room that could not be joined again. */
  error: [error: RelayBoxError];
  /** Attempt number `attempt` begins in `delayMs`. */
  reconnecting: [attempt: number, delayMs: number];
  /** Back after `attempts`: rooms, subscriptions and memberships are in place again. */
  reconnected: [attempts: number, restored: Restored];
  /** The platform says that there is no network: attempts wait until it says otherwise, or `connect()` is called. */
  offline: [];
  /** The outage lasts for `timeouts.requestMs`: what waited for its end was rejected, and calls are refused until `connect`. */
  suspended: [];
  /** Given up after `attempts` (only where `reconnect.attempts` is set). */
  reconnect_failed: [attempts: number];
}

export type ConnectionHandler<E extends keyof ConnectionEventMap> = (...args: ConnectionEventMap[E]) => void;

/** `relayBox.connection`. Its handlers stay over `disconnect()` and a later `connect()`. */
export interface ConnectionEvents {
  readonly state: ConnectionState;
  readonly id: string | undefined;
  readonly clientId: string | undefined;
  readonly node: string | undefined;
  readonly graceMs: number | undefined;
  /** Returns what takes the handler back. */
  on<E extends keyof ConnectionEventMap>(event: E, handler: ConnectionHandler<E>): () => void;
  once<E extends keyof ConnectionEventMap>(event: E, handler: ConnectionHandler<E>): () => void;
  /** Takes back one handler, all of one event, or all. */
  off<E extends keyof ConnectionEventMap>(event?: E, handler?: ConnectionHandler<E>): void;
}

/** The part of a WebSocket that is used: the browsers', Node's and that of `ws` all have it. */
export interface WebSocketLike {
  onopen: ((event: any) => any) | null;
  onmessage: ((event: any) => any) | null;
  onerror: ((event: any) => any) | null;
  onclose: ((event: any) => any) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketConstructor = new (url: string) => WebSocketLike;

/** The public client's option for a server of one's own; only the first three have an effect here. */
export interface OfflineOptions {
  enabled?: boolean;
  port?: number;
  coreServiceUrl?: string;
  authServiceUrl?: string;
  httpServiceUrl?: string;
  stateServiceUrl?: string;
}

export interface RelayBoxOptions {
  /** `appId.keyId:secret`, or with a dot before the secret. */
  apiKey: string;
  /** Who this connection says it is; needed to be a member of a presence set. `123` and `"123"` are the same client. */
  clientId?: string | number | undefined;
  /** The server's address, `ws://localhost:9000/core` by default; goes before `offline`. A relative one is of the page's origin. */
  url?: string | undefined;
  offline?: OfflineOptions;
  /** Where the platform has no global `WebSocket` (Node before 22), or to put one's own in its place. */
  WebSocket?: WebSocketConstructor;
  timeouts?: {
    /** Until the server's first frame; 10,000 ms by default. */
    connectMs?: number;
    /** Until the answer to a request; 10,000 ms by default. */
    requestMs?: number;
  };
  /** Before attempt n it waits a random time from 0 to `min(capMs, baseMs * 2^(n-1))`. */
  reconnect?: {
    /** 500 ms by default. Lower: quicker back, and a harder push on a server that restarts. */
    baseMs?: number;
    /** 10,000 ms by default. */
    capMs?: number;
    /** Attempts until `reconnect_failed`; without end by default. */
    attempts?: number;
  };
}
