// A WebSocket without a network: the test says what happens to it, in the test's own time.

import { afterEach } from 'vitest';
import { RelayBox } from '../src/index';
import type { RelayBoxOptions, WebSocketLike } from '../src/types';
import { usual, type Answer, type ClientRequest } from './fake-server';

export class ScriptedSocket implements WebSocketLike {
  static all: ScriptedSocket[] = [];
  static answer: (request: ClientRequest) => Answer = usual;

  onopen: WebSocketLike['onopen'] = null;
  onmessage: WebSocketLike['onmessage'] = null;
  onerror: WebSocketLike['onerror'] = null;
  onclose: WebSocketLike['onclose'] = null;
  readonly sent: ClientRequest[] = [];
  /** The arguments of close(), once it was called. */
  closedWith: unknown[] | undefined;

  constructor(readonly url: string) {
    ScriptedSocket.all.push(this);
  }

  static get last(): ScriptedSocket {
    return ScriptedSocket.all.at(-1)!;
  }

  send(text: string): void {
    const request = JSON.parse(text) as ClientRequest;
    request.type = request.type.replace('ds:client:', '');
    this.sent.push(request);
    const answer = ScriptedSocket.answer(request);
    if (answer !== null) queueMicrotask(() => this.acknowledge(request, answer));
  }

  close(...args: unknown[]): void {
    this.closedWith = args;
  }

  acknowledge(request: ClientRequest, answer: Exclude<Answer, null>): void {
    this.frame('ds:server:message:acknowledged', { ackId: request.ackId, data: null, ...answer });
  }

  hello(body: object = {}): void {
    this.frame('ds:server:connection:acknowledged', {
      uid: 'ana', clientId: 'ana', connectionId: 'app1:0123456789abcdef0123', node: 'f1', graceMs: 10_000, ...body,
    });
  }

  frame(type: string, body: unknown): void {
    this.onmessage?.({ data: JSON.stringify({ type, body }) });
  }

  /** As a link that breaks, or a server that closes. */
  end(code = 1006, reason = ''): void {
    this.onclose?.({ code, reason });
  }

  /** The handlers that would still be called with something of ours. */
  get listeners(): number {
    return [this.onopen, this.onmessage, this.onclose].filter((handler) => handler !== null).length;
  }

  get types(): string[] {
    return this.sent.map(({ type }) => type);
  }
}

afterEach(() => {
  ScriptedSocket.all = [];
  ScriptedSocket.answer = usual;
});

export function client(options: Partial<RelayBoxOptions> = {}): RelayBox {
  return new RelayBox({
    apiKey: 'app1.key1:secret',
    clientId: 'ana',
    url: 'ws://test/core',
    WebSocket: ScriptedSocket,
    ...options,
  });
}

/** A client whose first frame has come. */
export async function connected(options: Partial<RelayBoxOptions> = {}): Promise<{ relayBox: RelayBox; socket: ScriptedSocket }> {
  const relayBox = client(options);
  const connecting = relayBox.connect();
  const socket = ScriptedSocket.last;
  socket.hello();
  await connecting;
  return { relayBox, socket };
}

/** The error that a promise rejects with. */
export async function failure(promise: PromiseLike<unknown>): Promise<any> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it was expected to reject');
}

/** The next error that nobody catches, kept from ending the process. */
export function uncaught(): Promise<unknown> {
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  return new Promise((resolve) => {
    process.once('uncaughtException', (error) => {
      for (const other of others) process.on('uncaughtException', other);
      resolve(error);
    });
  });
}

/** Lets everything happen that waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
}
