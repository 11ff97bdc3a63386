// Requests and their acknowledgements.
//
//   request() ─▶ frame with a fresh ackId ─▶ [waits in a queue] ─▶ socket
//        promise ◀─ settled by exactly one of: the acknowledgement with that
//                   ackId, the deadline, the end of the connection
//
// The deadline runs from the call on, wherever the frame is: with the room that is
// put in place again, with the connection that is being made, or on its way. So no
// promise hangs, ever.
//
// What was sent on a socket that is lost is not sent again, since it may have been
// done; its acknowledgement may still come on the next socket, and is waited for there
// for `lateMs`. Only requests that can be done twice (`again`) are sent once more.

import { disconnected, fromWire, invalid, timedOut, tooLarge, type RelayBoxError } from './errors';

/** An acknowledgement's `data`, and the room's `revision` where the server states it. */
export interface Ack {
  data: unknown;
  revision: number | undefined;
}

/** The user's part of a request's body, already JSON. `undefined` text leaves the field out. */
export interface Payload {
  field: string;
  text: string | undefined;
}

/** Frames by ackId that wait for something. What was settled meanwhile is not sent any more. */
export type Queue = Map<string, string>;

export interface RequestOptions {
  payload?: Payload | undefined;
  /** Waits there instead of being sent. */
  queue?: Queue | undefined;
  /** Doing it twice does no harm: it is sent again when its socket is lost. */
  again?: boolean | undefined;
}

interface Pending {
  type: string;
  text: string;
  again: boolean;
  sent: boolean;
  deadline: number;
  resolve(ack: Ack): void;
  reject(error: RelayBoxError): void;
  timer: ReturnType<typeof setTimeout>;
}

/** How long an answer may come late on the next socket: the server's own 2 s and the way. */
const lateMs = 2_500;

/** So many requests may wait while there is no socket; more would be refused by the server's rate, too. */
const waitAtMost = 256;

/** Turns data into JSON once. What has no JSON form (a cycle, a function, a BigInt) is refused here. */
export function encode(data: unknown, field: string): string | undefined {
  if (data === undefined) return undefined;
  let text: string | undefined;
  try {
    text = JSON.stringify(data);
  } catch (error) {
    throw invalid(`${field} has no JSON form: ${error instanceof Error ? error.message : String(error)}`, field);
  }
  if (text === undefined) throw invalid(`${field} has no JSON form: it is a ${typeof data}`, field);
  return text;
}

export class Requests {
  readonly #timeoutMs: number;
  readonly #unanswered: () => void;
  readonly #pending = new Map<string, Pending>();
  // What waits for the connection; undefined when there is none to wait for.
  #waiting: Queue | undefined;
  #send: ((text: string) => void) | undefined;
  // Unlike any other client object's, also over a page reload: late answers find nobody else.
  readonly #prefix = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  #count = 0;

  /** `unanswered` is called when a request that was sent ran into its deadline. */
  constructor(timeoutMs: number, unanswered: () => void = () => {}) {
    this.#timeoutMs = timeoutMs;
    this.#unanswered = unanswered;
  }

  /** From here on requests wait for {@link open}. */
  wait(): void {
    this.#waiting ??= new Map();
  }

  /** The connection is there: `first` is sent, then what waited, in order. */
  open(send: (text: string) => void, first: () => void = () => {}): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#send = send;
    for (const [ackId, request] of this.#pending) if (request.sent) this.#arm(ackId, request, lateMs);
    first();
    if (waiting !== undefined) this.flush(waiting);
  }

  /**
   * The socket is lost, and another one will come: what was not sent waits for it. The server closes with
   * 1009 when a frame is over its limit and can't say which: it was the largest, and sending that one again
   * would end the next socket, too.
   */
  lose(closeCode?: number): void {
    this.#send = undefined;
    this.#waiting ??= new Map();
    const sent = [...this.#pending].filter(([, request]) => request.sent);
    const largest = closeCode === 1009 ? Math.max(...sent.map(([, { text }]) => text.length)) : undefined;
    for (const [ackId, request] of sent) {
      if (request.text.length === largest) this.#settle(ackId)?.reject(tooLarge(largest));
      else if (request.again) {
        request.sent = false;
        this.#waiting.set(ackId, request.text);
      }
    }
  }

  /** There is no connection to wait for any more: nothing that is not answered ever will be. */
  close(error: RelayBoxError): void {
    this.#send = undefined;
    this.#waiting = undefined;
    for (const ackId of [...this.#pending.keys()]) this.#settle(ackId)?.reject(error);
  }

  /**
   * Sends `ds:client:<type>` before it returns, so that requests go out in the order of the calls.
   * Rejects with the server's error, `timeout` or `disconnected`.
   */
  request(type: string, body: object, { payload, queue, again = false }: RequestOptions = {}): Promise<Ack> {
    if (this.#send === undefined) {
      if (this.#waiting === undefined) return Promise.reject(disconnected(`${type} was not sent: there is no connection`));
      if (this.#pending.size >= waitAtMost) return Promise.reject(disconnected(`${type} was not sent: ${waitAtMost} requests wait for the connection already`));
    }
    const ackId = `${this.#prefix}${(this.#count++).toString(36)}`;
    const text = frame(type, body, payload, ackId);
    return new Promise<Ack>((resolve, reject) => {
      const deadline = performance.now() + this.#timeoutMs;
      const request: Pending = { type, text, again, sent: false, deadline, resolve, reject, timer: 0 as never };
      this.#pending.set(ackId, request);
      this.#arm(ackId, request, this.#timeoutMs);
      (queue ?? this.#waiting)?.set(ackId, text);
      if (queue === undefined && this.#send !== undefined) this.#transmit(request);
    });
  }

  /** Sends what the server answers at once by itself, and doesn't count against the rate. Nobody waits for the answer. */
  probe(): void {
    this.#send?.(frame('auth:user:unsubscribe', {}, undefined, this.#prefix));
  }

  /** Sends what waits in `queue`, in order, or has it wait for the connection. */
  flush(queue: Queue): void {
    for (const [ackId, text] of queue) {
      const request = this.#pending.get(ackId);
      if (request === undefined) continue;
      if (this.#send === undefined) this.#waiting?.set(ackId, text);
      else this.#transmit(request);
    }
    queue.clear();
  }

  /** Rejects what waits in `queue`. */
  drop(queue: Queue, error: RelayBoxError): void {
    for (const ackId of queue.keys()) this.#settle(ackId)?.reject(error);
    queue.clear();
  }

  /** Takes the body of an acknowledgement; one that nobody waits for any more is dropped. */
  acknowledge(body: Record<string, unknown>): void {
    const request = this.#settle(String(body['ackId']));
    if (request === undefined) return;
    const err = body['err'];
    if (typeof err === 'object' && err !== null) {
      request.reject(fromWire(err as Record<string, unknown>));
      return;
    }
    const revision = body['revision'];
    request.resolve({ data: body['data'], revision: typeof revision === 'number' ? revision : undefined });
  }

  #transmit(request: Pending): void {
    request.sent = true;
    this.#send?.(request.text);
  }

  #arm(ackId: string, request: Pending, ms: number): void {
    clearTimeout(request.timer);
    const left = request.deadline - performance.now();
    request.timer = setTimeout(() => {
      this.#pending.delete(ackId);
      request.reject(this.#overdue(request, ms < left));
      if (request.sent && this.#send !== undefined && ms >= left) this.#unanswered();
    }, Math.max(0, Math.min(ms, left)));
  }

  #overdue({ type, sent }: Pending, late: boolean): RelayBoxError {
    if (!sent) return disconnected(`${type} was not sent: the connection, or its room, was not back within ${this.#timeoutMs} ms`);
    if (late || this.#send === undefined) return disconnected(`${type}: the answer was lost with the connection; it may have been done`);
    return timedOut(type, this.#timeoutMs);
  }

  #settle(ackId: string): Pending | undefined {
    const request = this.#pending.get(ackId);
    this.#pending.delete(ackId);
    clearTimeout(request?.timer);
    return request;
  }
}

// The data is spliced in as it was encoded: encoding it twice would cost twice.
function frame(type: string, body: object, payload: Payload | undefined, ackId: string): string {
  let fields = JSON.stringify(body).slice(1, -1);
  if (payload?.text !== undefined) fields += `${fields === '' ? '' : ','}"${payload.field}":${payload.text}`;
  return `{"type":"ds:client:${type}","body":{${fields}},"ackId":"${ackId}"}`;
}
