// Requests and their acknowledgements.
//
//   request() ─▶ frame with a fresh ackId ─▶ socket
//        promise ◀─ settled by exactly one of: the acknowledgement with that
//                   ackId, the deadline, the end of the connection
//
// A request made while the first connection is being made waits here for it; one
// made without a connection is refused at once. So no promise hangs, ever.

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

interface Pending {
  /** Of the frame, in UTF-16 units: enough to compare. */
  size: number;
  resolve(ack: Ack): void;
  reject(error: RelayBoxError): void;
  timer: ReturnType<typeof setTimeout>;
}

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
  readonly #pending = new Map<string, Pending>();
  // Frames that wait for the first connection; undefined when there is none to wait for.
  #waiting: string[] | undefined;
  #send: ((text: string) => void) | undefined;
  // Unlike any other client object's, also over a page reload: late answers find nobody else.
  readonly #prefix = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  #count = 0;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** From here on requests wait for {@link open}. */
  wait(): void {
    this.#waiting ??= [];
  }

  /** The connection is there: what waited goes out, in order. */
  open(send: (text: string) => void): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    this.#send = send;
    for (const text of waiting) send(text);
  }

  /**
   * The connection is gone: what is not answered never will be. The server closes with 1009 when a frame
   * is over its limit and can't say which: it was the largest, and sending that one again would end the next connection.
   */
  close(error: RelayBoxError, closeCode?: number): void {
    this.#send = undefined;
    this.#waiting = undefined;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    const largest = closeCode === 1009 ? Math.max(...pending.map(({ size }) => size)) : undefined;
    for (const request of pending) {
      clearTimeout(request.timer);
      request.reject(request.size === largest ? tooLarge(largest) : error);
    }
  }

  /**
   * Sends `ds:client:<type>` before it returns, so that requests go out in the order of the calls.
   * Rejects with the server's error, `timeout` or `disconnected`.
   */
  request(type: string, body: object, payload?: Payload): Promise<Ack> {
    if (this.#send === undefined && this.#waiting === undefined) {
      return Promise.reject(disconnected(`${type} was not sent: there is no connection`));
    }
    const ackId = `${this.#prefix}${(this.#count++).toString(36)}`;
    const text = frame(type, body, payload, ackId);
    return new Promise<Ack>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(ackId);
        reject(timedOut(type, this.#timeoutMs));
      }, this.#timeoutMs);
      this.#pending.set(ackId, { size: text.length, resolve, reject, timer });
      if (this.#send !== undefined) this.#send(text);
      else this.#waiting?.push(text);
    });
  }

  /** Takes the body of an acknowledgement; one that nobody waits for any more is dropped. */
  acknowledge(body: Record<string, unknown>): void {
    const ackId = String(body['ackId']);
    const pending = this.#pending.get(ackId);
    if (pending === undefined) return;
    this.#pending.delete(ackId);
    clearTimeout(pending.timer);
    const err = body['err'];
    if (typeof err === 'object' && err !== null) {
      pending.reject(fromWire(err as Record<string, unknown>));
      return;
    }
    const revision = body['revision'];
    pending.resolve({ data: body['data'], revision: typeof revision === 'number' ? revision : undefined });
  }
}

// The data is spliced in as it was encoded: encoding it twice would cost twice.
function frame(type: string, body: object, payload: Payload | undefined, ackId: string): string {
  let fields = JSON.stringify(body).slice(1, -1);
  if (payload?.text !== undefined) fields += `${fields === '' ? '' : ','}"${payload.field}":${payload.text}`;
  return `{"type":"ds:client:${type}","body":{${fields}},"ackId":"${ackId}"}`;
}
