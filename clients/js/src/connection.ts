// One logical connection over as many sockets as it takes.
//
//            open()                first frame
//   idle ───────────▶ connecting ──────────────▶ connected
//     ▲                   │ failed: open() rejects    │ socket closed, whatever the code,
//     ├───────────────────┘                           ▼ or did not answer a probe
//     └──── close(), attempts used up ──────── reconnecting ──first frame──▶ connected
//                                               │        ▲
//                                               └─failed─┘  full jitter between attempts
//
// At most one socket exists at any moment. Timers: the deadline of the first frame while
// a socket opens, the delay while none does; beside it the outage's (`suspendMs`) while
// reconnecting, and a probe's while connected.
//
// A socket that is given up while the server may still hold it is closed with a code that
// is no goodbye: a close frame without a code would end the memberships at once.

import { delayMs, type Backoff } from './backoff';
import { Emitter } from './emitter';
import { connectFailed, disconnected, protocolError, timedOut, type RelayBoxError } from './errors';
import { isOffline, watchPlatform } from './platform';
import type {
  ConnectionEventMap,
  ConnectionEvents,
  ConnectionHandler,
  ConnectionInfo,
  ConnectionState,
  Restored,
  WebSocketConstructor,
  WebSocketLike,
} from './types';

export interface Frame {
  type: string;
  body: Record<string, unknown>;
}

/** What a lost connection is taken up again with. */
export interface Claim {
  connectionId: string;
  /** Granted by the server with the first frame: proves that the connection is ours. Shown to nobody else. */
  secret: string | undefined;
}

/** What the owner is told, each before the users are. */
export interface ConnectionHooks {
  /** The first connection is being made. */
  opening(): void;
  /** The first frame has come. After a loss (`again`) the promise says when all is in place again. */
  ready(again: boolean): Promise<Restored>;
  /** The socket is gone, and another one is on its way. */
  lost(error: RelayBoxError, closeCode: number): void;
  /** The outage lasts: nothing waits for its end any more. */
  suspended(error: RelayBoxError): void;
  /** The connection is gone for good. */
  ended(error: RelayBoxError): void;
  /** Sends something that the server answers at once, whatever the answer. */
  probe(): void;
  frame(frame: Frame): void;
}

export interface ConnectionSettings {
  /** Where to, with the query; `claim` is of the lost connection. */
  address(claim: Claim | undefined): string;
  /** The same without what is secret, for error texts. */
  label: string;
  WebSocket: WebSocketConstructor;
  connectMs: number;
  /** How long requests wait for the end of an outage. */
  suspendMs: number;
  backoff: Backoff;
  attempts: number;
}

interface Waiter {
  promise: Promise<ConnectionInfo>;
  resolve(info: ConnectionInfo): void;
  reject(error: RelayBoxError): void;
}

/** A connection that ends sooner than this was none: the next delay goes on from the last one. */
const stableMs = 5_000;

/** A live server answers a probe in one round trip; a slow phone network takes a second or two. */
const probeMs = 3_000;

/** A socket that has been opening for longer than this may hang on a network that is no more. */
const freshMs = 1_000;

/** Not 1000, 1001 or none: those are a goodbye. */
const abandoned = 4_000;

const firstFrame = 'ds:server:connection:acknowledged';

const ignore = (): void => {};

type Timer = ReturnType<typeof setTimeout> | undefined;

export class Connection implements ConnectionEvents {
  readonly #settings: ConnectionSettings;
  readonly #hooks: ConnectionHooks;
  readonly #events = new Emitter<ConnectionEventMap>();
  #state: ConnectionState = 'idle';
  #info: ConnectionInfo | undefined;
  #secret: string | undefined;
  #socket: WebSocketLike | undefined;
  #timer: Timer;
  #outage: Timer;
  #probe: Timer;
  #unwatch = ignore;
  #waiter: Waiter | undefined;
  #attempt = 0;
  #dialedAt = 0;
  #connectedAt = 0;

  constructor(settings: ConnectionSettings, hooks: ConnectionHooks) {
    this.#settings = settings;
    this.#hooks = hooks;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get id(): string | undefined {
    return this.#info?.connectionId;
  }

  get clientId(): string | undefined {
    return this.#info?.clientId;
  }

  get node(): string | undefined {
    return this.#info?.node;
  }

  get graceMs(): number | undefined {
    return this.#info?.graceMs;
  }

  on<E extends keyof ConnectionEventMap>(event: E, handler: ConnectionHandler<E>): () => void {
    return this.#events.on(event, handler);
  }

  once<E extends keyof ConnectionEventMap>(event: E, handler: ConnectionHandler<E>): () => void {
    return this.#events.on(event, handler, true);
  }

  off<E extends keyof ConnectionEventMap>(event?: E, handler?: ConnectionHandler<E>): void {
    this.#events.off(event, handler);
  }

  /** Tells users what no call of theirs could be told. */
  report(error: RelayBoxError): void {
    this.#events.emit('error', error);
  }

  /** Connects, or waits for the connection under way. While reconnecting it tries now, also where the platform says offline. */
  open(): Promise<ConnectionInfo> {
    if (this.#state === 'connected' && this.#info !== undefined) return Promise.resolve(this.#info);
    const waiter = (this.#waiter ??= newWaiter());
    if (this.#state === 'idle') {
      this.#state = 'connecting';
      this.#unwatch = watchPlatform({ offline: () => this.#offline(), wake: () => this.#wake() });
      this.#hooks.opening();
      this.#dial();
    } else if (this.#state === 'reconnecting' && this.#socket === undefined) {
      this.#dial();
    }
    return waiter.promise;
  }

  /** Ends it for good, with a close frame without a code. */
  close(): void {
    if (this.#state === 'idle') return;
    const error = disconnected('disconnect() was called');
    this.#release()?.close();
    this.#idle(error);
    this.#events.emit('disconnect', { code: 1005, reason: '', reconnecting: false });
  }

  send(text: string): void {
    this.#socket?.send(text);
  }

  /** Finds out whether the socket still lives; where it does not, takes another one at once. */
  check(): void {
    if (this.#state !== 'connected' || this.#probe !== undefined) return;
    this.#probe = setTimeout(() => {
      const socket = this.#release();
      socket?.close(abandoned);
      this.#lost({ code: 1006, reason: '' }, `no answer within ${probeMs} ms`, true);
    }, probeMs);
    this.#hooks.probe();
  }

  #dial(): void {
    clearTimeout(this.#timer);
    this.#dialedAt = performance.now();
    if (this.#state === 'reconnecting') this.#attempt = Math.max(1, this.#attempt);
    this.#timer = setTimeout(() => {
      const socket = this.#release();
      if (this.#info === undefined) socket?.close();
      else socket?.close(abandoned);
      this.#failed(timedOut(`connecting to ${this.#settings.label}`, this.#settings.connectMs));
    }, this.#settings.connectMs);
    let socket: WebSocketLike;
    const claim = this.#info && { connectionId: this.#info.connectionId, secret: this.#secret };
    const address = this.#settings.address(claim);
    try {
      socket = new this.#settings.WebSocket(address);
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      this.#failed(connectFailed(this.#settings.label, cause.replaceAll(address, this.#settings.label)));
      return;
    }
    this.#socket = socket;
    let cause = '';
    socket.onerror = (event) => {
      cause = typeof event?.message === 'string' ? event.message : cause;
    };
    socket.onmessage = (event) => this.#message(event.data);
    socket.onclose = (event) => this.#closed(event, cause);
    this.#events.emit('connecting');
  }

  #message(data: unknown): void {
    clearTimeout(this.#probe); // whatever it says: it lives
    this.#probe = undefined;
    let frame: Partial<Frame>;
    try {
      frame = JSON.parse(String(data));
    } catch {
      this.report(protocolError('the server sent a frame that is not JSON'));
      return;
    }
    const { type, body } = frame ?? {};
    if (typeof type !== 'string' || typeof body !== 'object' || body === null) return;
    if (type === firstFrame) this.#acknowledged(body);
    else this.#hooks.frame({ type, body });
  }

  #acknowledged(body: Record<string, unknown>): void {
    const again = this.#state === 'reconnecting';
    if (this.#state === 'connected') return;
    clearTimeout(this.#timer);
    clearTimeout(this.#outage);
    const { connectionId, clientId, node, graceMs, resumeSecret } = body;
    const info: ConnectionInfo = {
      connectionId: String(connectionId),
      clientId: clientId === undefined || clientId === null ? undefined : String(clientId),
      node: typeof node === 'string' ? node : undefined,
      graceMs: typeof graceMs === 'number' ? graceMs : undefined,
    };
    // A server sends it once: what has it already is not sent it again.
    if (typeof resumeSecret === 'string') this.#secret = resumeSecret;
    this.#info = info;
    this.#state = 'connected';
    this.#connectedAt = performance.now();
    const attempts = this.#attempt;
    const socket = this.#socket;
    const restored = this.#hooks.ready(again);
    this.#waiter?.resolve(info);
    this.#waiter = undefined;
    this.#events.emit('connect', info);
    if (!again) return;
    void restored.then((what) => {
      if (this.#state === 'connected' && this.#socket === socket) this.#events.emit('reconnected', attempts, what);
    });
  }

  #closed(event: { code?: number; reason?: string }, cause: string): void {
    const { code = 1006, reason = '' } = event ?? {};
    this.#release();
    const why = reason === '' ? cause : reason;
    if (this.#state === 'connected') this.#lost({ code, reason }, why, false);
    else this.#failed(connectFailed(this.#settings.label, why === '' && code !== 1006 ? `closed with ${code}` : why));
  }

  #lost({ code, reason }: { code: number; reason: string }, why: string, now: boolean): void {
    if (performance.now() - this.#connectedAt >= stableMs) this.#attempt = 0;
    this.#state = 'reconnecting';
    this.#hooks.lost(disconnected(`the connection was lost (close code ${code}${why === '' ? '' : `, ${why}`})`), code);
    this.#outage = setTimeout(() => {
      this.#hooks.suspended(disconnected(`the connection is not back after ${this.#settings.suspendMs} ms`));
      this.#events.emit('suspended');
    }, this.#settings.suspendMs);
    this.#events.emit('disconnect', { code, reason, reconnecting: true });
    // A handler may have called disconnect() or connect().
    if (this.#state === 'reconnecting' && this.#socket === undefined) this.#retry(now);
  }

  #failed(error: RelayBoxError): void {
    clearTimeout(this.#timer);
    if (this.#state === 'connecting') {
      this.#idle(error);
      this.report(error);
      return;
    }
    this.report(error);
    if (this.#state === 'reconnecting' && this.#socket === undefined) this.#retry(false);
  }

  #retry(now: boolean): void {
    if (this.#attempt >= this.#settings.attempts) {
      const attempts = this.#attempt;
      this.#idle(disconnected(`gave up after ${attempts} attempts`));
      this.#events.emit('reconnect_failed', attempts);
      return;
    }
    if (isOffline()) {
      this.#events.emit('offline');
      return; // until #wake
    }
    this.#attempt++;
    const ms = now ? 0 : delayMs(this.#attempt, this.#settings.backoff);
    this.#timer = setTimeout(() => this.#dial(), ms);
    this.#events.emit('reconnecting', this.#attempt, ms);
  }

  // The network is gone, or so the platform says: a node on this very machine is still there.
  #offline(): void {
    if (this.#state === 'reconnecting' && this.#socket === undefined) {
      clearTimeout(this.#timer);
      this.#events.emit('offline');
    } else {
      this.check();
    }
  }

  #wake(): void {
    if (this.#state === 'connected') this.check();
    if (this.#state !== 'reconnecting' || isOffline()) return;
    if (this.#socket !== undefined && performance.now() - this.#dialedAt < freshMs) return;
    this.#release()?.close(abandoned);
    this.#dial();
  }

  #idle(error: RelayBoxError): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#outage);
    this.#unwatch();
    this.#unwatch = ignore;
    this.#state = 'idle';
    this.#info = undefined;
    this.#secret = undefined;
    this.#attempt = 0;
    this.#hooks.ended(error);
    this.#waiter?.reject(error);
    this.#waiter = undefined;
  }

  // Lets go of the socket, so that nothing it still says is heard. An error handler stays:
  // without one, `ws` throws when a socket is closed before it has opened.
  #release(): WebSocketLike | undefined {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#probe);
    this.#probe = undefined;
    if (socket === undefined) return undefined;
    socket.onmessage = null;
    socket.onclose = null;
    socket.onerror = ignore;
    return socket;
  }
}

function newWaiter(): Waiter {
  let resolve: Waiter['resolve'] = ignore;
  let reject: Waiter['reject'] = ignore;
  const promise = new Promise<ConnectionInfo>((ok, failed) => {
    resolve = ok;
    reject = failed;
  });
  return { promise, resolve, reject };
}
