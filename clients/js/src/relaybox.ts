// The client: puts the parts together and owns the rooms.

import { Pace, type Backoff } from './backoff';
import { Connection, type Claim, type Frame } from './connection';
import { invalid, type RelayBoxError } from './errors';
import { Requests } from './requests';
import { JoinedRoom, PendingRoom, type Recovery, type RoomHost } from './room';
import { Router } from './subscriptions';
import type {
  ConnectionEvents,
  ConnectionInfo,
  CreatedRoom,
  CreateOptions,
  JoiningRoom,
  RelayBoxOptions,
  Restored,
  WebSocketConstructor,
} from './types';

const defaultPort = 9000;

/** Rooms that are put in place at the same time after a reconnect. */
const roomsAtOnce = 8;

/**
 * Joins are let through at this pace after a reconnect: two thirds of what the server lets in (30 in 5 s, with
 * publishes and updates), so that the application's own requests find room.
 */
const joinsAtOnce = 20;
const joinEveryMs = 250;

const acknowledgement = 'ds:server:message:acknowledged';

interface Entry {
  room: JoinedRoom;
  joined: Promise<void>;
}

export class RelayBox {
  /** The state of the connection, its facts and its events. */
  readonly connection: ConnectionEvents;
  readonly #connection: Connection;
  readonly #requests: Requests;
  readonly #router = new Router();
  readonly #rooms = new Map<string, Entry>();
  readonly #host: RoomHost;
  // Rooms that were left without the server's knowing.
  readonly #left = new Set<string>();
  // Ends what is under way on the present socket.
  #socketLife = new AbortController();

  /** Throws a `RelayBoxError` with code `invalid` for options that can't work. Opens nothing. */
  constructor(options: RelayBoxOptions) {
    const { reconnect = {}, timeouts = {} } = options ?? {};
    const backoff: Backoff = { baseMs: reconnect.baseMs ?? 500, capMs: reconnect.capMs ?? 10_000 };
    const { label, address } = addressOf(options ?? {});
    const requestMs = timeouts.requestMs ?? 10_000;
    this.#requests = new Requests(requestMs, () => this.#connection.check());
    this.#connection = new Connection(
      {
        label,
        address,
        WebSocket: socketOf(options),
        connectMs: timeouts.connectMs ?? 10_000,
        suspendMs: requestMs,
        backoff,
        attempts: reconnect.attempts ?? Infinity,
      },
      {
        opening: () => this.#requests.wait(),
        ready: (again) => this.#ready(again),
        lost: (error, closeCode) => this.#lost(error, closeCode),
        suspended: (error) => this.#requests.close(error),
        ended: (error) => this.#end(error),
        probe: () => this.#requests.probe(),
        frame: (frame) => this.#frame(frame),
      },
    );
    this.connection = this.#connection;
    this.#host = {
      router: this.#router,
      backoff,
      requests: this.#requests,
      self: () => this.#connection.id,
      report: (error) => this.#connection.report(error),
      ended: (room, told) => {
        if (this.#rooms.get(room.id)?.room === room) this.#rooms.delete(room.id);
        if (!told) this.#left.add(room.id);
      },
    };
  }

  /** `appId:connectionPart`; undefined without a connection, as the next three. */
  get connectionId(): string | undefined {
    return this.#connection.id;
  }

  /** The clientId as the server has it: always text. */
  get clientId(): string | undefined {
    return this.#connection.clientId;
  }

  /** The node that holds the socket. */
  get node(): string | undefined {
    return this.#connection.node;
  }

  /** How long, in milliseconds, the server keeps the memberships of a lost socket. */
  get graceMs(): number | undefined {
    return this.#connection.graceMs;
  }

  /** Resolves with the server's first frame. Rejects when there is none; then nothing goes on trying. */
  connect(): Promise<ConnectionInfo> {
    return this.#connection.open();
  }

  /**
   * Ends every membership, subscription and room at once. Requests under way reject with
   * `disconnected`. Handlers of `connection` stay, and `connect()` begins afresh.
   */
  disconnect(): void {
    this.#connection.close();
  }

  /**
   * Joins a room. The result can be used at once, its calls then wait for the join, or be awaited.
   * Joining again gives the same room.
   */
  join(roomId: string): JoiningRoom {
    const known = this.#rooms.get(roomId);
    if (known !== undefined && known.room.leaving === undefined) return this.#pending(known);
    const room = new JoinedRoom(roomId, this.#host);
    const entry: Entry = { room, joined: Promise.resolve() };
    this.#rooms.set(roomId, entry);
    entry.joined = room.enter(known?.room.leaving);
    return this.#pending(entry);
  }

  /** Makes a room known without joining it; one that exists is no error. */
  async create(roomId: string, options: CreateOptions = {}): Promise<CreatedRoom> {
    const { visibility, password, roomName } = options;
    const { data } = await this.#requests.request('room:create', { roomId, visibility, password, roomName }, { again: true });
    return data as CreatedRoom;
  }

  #pending({ room, joined }: Entry): PendingRoom {
    return new PendingRoom(room, joined, (error) => this.#connection.report(error));
  }

  #frame({ type, body }: Frame): void {
    if (type === acknowledgement) this.#requests.acknowledge(body);
    else this.#router.dispatch(type, body);
  }

  #ready(again: boolean): Promise<Restored> {
    this.#socketLife = new AbortController();
    const left = [...this.#left];
    this.#left.clear();
    this.#requests.open((text) => this.#connection.send(text), () => this.#leaveAll(left));
    return this.#restore(this.#socketLife.signal, again);
  }

  #lost(error: RelayBoxError, closeCode: number): void {
    this.#socketLife.abort(error);
    this.#requests.lose(closeCode);
    for (const { room } of this.#rooms.values()) room.lose();
  }

  #end(error: RelayBoxError): void {
    this.#socketLife.abort(error);
    for (const { room } of [...this.#rooms.values()]) room.end(error);
    this.#requests.close(error);
    this.#left.clear();
  }

  // A connection that is resumed may still be in rooms that were left while there was no socket.
  #leaveAll(left: string[]): void {
    for (const roomId of left) {
      this.#requests.request('room:leave', { roomId }, { again: true }).catch(() => {
        if (!this.#rooms.has(roomId)) this.#left.add(roomId);
      });
    }
  }

  async #restore(signal: AbortSignal, again: boolean): Promise<Restored> {
    const restored: Restored = { resumed: true, rooms: [], memberships: [] };
    if (!again) return restored;
    const recovery: Recovery = { signal, pace: new Pace(joinsAtOnce, joinEveryMs), gone: false, restored };
    const next = [...this.#rooms.values()].map(({ room }) => room).filter((room) => room.away).values();
    const work = async (): Promise<void> => {
      for (const room of next) await room.restore(recovery);
    };
    await Promise.all(Array.from({ length: roomsAtOnce }, work));
    restored.resumed = restored.rooms.length + restored.memberships.length === 0;
    return restored;
  }
}

function socketOf(options: RelayBoxOptions): WebSocketConstructor {
  const constructor =
    options.WebSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;
  if (constructor === undefined) {
    throw invalid('this platform has no WebSocket: pass one as the option WebSocket, such as that of the package ws', 'WebSocket');
  }
  return constructor;
}

function addressOf({ apiKey, clientId, url, offline }: RelayBoxOptions): {
  label: string;
  address(claim: Claim | undefined): string;
} {
  if (typeof apiKey !== 'string' || apiKey === '') throw invalid('apiKey is required: "appId.keyId:secret"', 'apiKey');
  if (clientId !== undefined && clientId !== null && typeof clientId !== 'string' && !Number.isFinite(clientId)) {
    throw invalid('clientId must be a string or a number', 'clientId');
  }
  const given = url ?? offline?.coreServiceUrl ?? `ws://localhost:${offline?.port ?? defaultPort}/core`;
  const base = parse(given);
  if (base === undefined || !/^(ws|http)s?:$/.test(base.protocol)) {
    throw invalid(`url "${given}" is not an address; want ws://host:port/core`, 'url');
  }
  // A relative or copied http address means the websocket beside it.
  base.protocol = base.protocol.replace('http', 'ws');
  return {
    label: `${base.protocol}//${base.host}${base.pathname}`,
    address(claim) {
      const address = new URL(base);
      address.searchParams.set('apiKey', apiKey);
      if (clientId !== undefined && clientId !== null && clientId !== '') address.searchParams.set('clientId', String(clientId));
      address.searchParams.set('features', 'resume');
      if (claim !== undefined) address.searchParams.set('connectionId', claim.connectionId);
      if (claim?.secret !== undefined) address.searchParams.set('resumeSecret', claim.secret);
      return address.href;
    },
  };
}

function parse(url: string): URL | undefined {
  try {
    return new URL(url, (globalThis as { location?: { href: string } }).location?.href);
  } catch {
    return undefined;
  }
}
