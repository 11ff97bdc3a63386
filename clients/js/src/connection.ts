// One logical connection over as many sockets as it takes.
//
//            open()                first frame
//   idle ───────────▶ connecting ──────────────▶ connected
//     ▲                   │ failed: open() rejects    │ socket closed, whatever the code
//     ├───────────────────┘                           ▼
//     └──── close(), attempts used up ──────── reconnecting ──first frame──▶ connected
//                                               │        ▲
//                                               └─failed─┘  full jitter between attempts
//
// At most one socket and one timer exist at any moment: the timer is the deadline of the
// first frame while a socket opens, and the delay while none does.

import { delayMs, type Backoff } from './backoff';
import { Emitter } from './emitter';
import { connectFailed, disconnected, protocolError, timedOut, type RelayBoxError } from './errors';
import type {
  ConnectionEventMap,
  ConnectionEvents,
  ConnectionHandler,
  ConnectionInfo,
  ConnectionState,
  WebSocketConstructor,
  WebSocketLike,
} from './types';

export interface Frame {
  type: string;
  body: Record<string, unknown>;
}

/** What the owner is told, each before the users are. */
export interface ConnectionHooks {
  /** The first connection is being made. */
  opening(): void;
  /** The first frame has come. After a loss (`again`) the promise says when all is in place again. */
  ready(again: boolean): Promise<void>;
  /** The connection is gone: for now when `again` is possible, else for good. */
  lost(error: RelayBoxError, again: boolean, closeCode?: number): void;
  frame(frame: Frame): void;
}

export interface ConnectionSettings {
  /** Where to, with the query; `connectionId` is that of the lost connection. */
  address(connectionId: string | undefined): string;
  /** The same without what is secret, for error texts. */
  label: string;
  WebSocket: WebSocketConstructor;
  connectMs: number;
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

const firstFrame = 'ds:server:connection:acknowledged';

const ignore = (): void => {};

export class Connection implements ConnectionEvents {
  readonly #settings: ConnectionSettings;
  readonly #hooks: ConnectionHooks;
  readonly #events = new Emitter<ConnectionEventMap>();
  #state: ConnectionState = 'idle';
  #info: ConnectionInfo | undefined;
  #socket: WebSocketLike | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waiter: Waiter | undefined;
  #attempt = 0;
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

  /** Connects, or waits for the connection under way. While reconnecting it tries now. */
  open(): Promise<ConnectionInfo> {
    if (this.#state === 'connected' && this.#info !== undefined) return Promise.resolve(this.#info);
    const waiter = (this.#waiter ??= newWaiter());
    if (this.#state === 'idle') {
      this.#state = 'connecting';
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

  #dial(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#release()?.close();
      this.#failed(timedOut(`connecting to ${this.#settings.label}`, this.#settings.connectMs));
    }, this.#settings.connectMs);
    let socket: WebSocketLike;
    try {
      socket = new this.#settings.WebSocket(this.#settings.address(this.#info?.connectionId));
    } catch (error) {
      this.#failed(connectFailed(this.#settings.label, error instanceof Error ? error.message : String(error)));
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
    const { connectionId, clientId, node, graceMs } = body;
    const info: ConnectionInfo = {
      connectionId: String(connectionId),
      clientId: clientId === undefined || clientId === null ? undefined : String(clientId),
      node: typeof node === 'string' ? node : undefined,
      graceMs: typeof graceMs === 'number' ? graceMs : undefined,
    };
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
    void restored.then(() => {
      if (this.#state === 'connected' && this.#socket === socket) this.#events.emit('reconnected', attempts);
    });
  }

  #closed(event: { code?: number; reason?: string }, cause: string): void {
    const { code = 1006, reason = '' } = event ?? {};
    this.#release();
    const why = reason === '' ? cause : reason;
    if (this.#state !== 'connected') {
      this.#failed(connectFailed(this.#settings.label, why === '' && code !== 1006 ? `closed with ${code}` : why));
      return;
    }
    if (performance.now() - this.#connectedAt >= stableMs) this.#attempt = 0;
    this.#state = 'reconnecting';
    const lost = disconnected(`the connection was lost (close code ${code}${why === '' ? '' : `, ${why}`})`);
    this.#hooks.lost(lost, true, code);
    this.#events.emit('disconnect', { code, reason, reconnecting: true });
    // A handler may have called disconnect() or connect().
    if (this.#state === 'reconnecting' && this.#socket === undefined) this.#retry();
  }

  #failed(error: RelayBoxError): void {
    clearTimeout(this.#timer);
    if (this.#state === 'connecting') {
      this.#idle(error);
      this.report(error);
      return;
    }
    this.report(error);
    if (this.#state === 'reconnecting' && this.#socket === undefined) this.#retry();
  }

  #retry(): void {
    if (this.#attempt >= this.#settings.attempts) {
      const attempts = this.#attempt;
      this.#idle(disconnected(`gave up after ${attempts} attempts`));
      this.#events.emit('reconnect_failed', attempts);
      return;
    }
    this.#attempt++;
    const ms = delayMs(this.#attempt, this.#settings.backoff);
    this.#timer = setTimeout(() => this.#dial(), ms);
    this.#events.emit('reconnecting', this.#attempt, ms);
  }

  #idle(error: RelayBoxError): void {
    clearTimeout(this.#timer);
    this.#state = 'idle';
    this.#info = undefined;
    this.#attempt = 0;
    this.#hooks.lost(error, false);
    this.#waiter?.reject(error);
    this.#waiter = undefined;
  }

  // Lets go of the socket, so that nothing it still says is heard. An error handler stays:
  // without one, `ws` throws when a socket is closed before it has opened.
  #release(): WebSocketLike | undefined {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#timer);
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
