// A server of one process that speaks the envelopes of the wire protocol page and can be told to
// misbehave: for what a real server can't be made to show. It keeps no presence: it answers.

import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket as Socket } from 'ws';

export interface ClientRequest {
  type: string;
  body: Record<string, any>;
  ackId: string;
}

/** What to answer: `data`, an `err`, extra fields, or nothing at all (`null`). */
export type Answer = { data?: unknown; err?: object; revision?: number } | null;

export class FakeClient {
  readonly query: URLSearchParams;
  readonly requests: ClientRequest[] = [];
  readonly closed: Promise<number>;
  readonly #socket: Socket;

  constructor(socket: Socket, url: string, answer: (request: ClientRequest, client: FakeClient) => Answer) {
    this.query = new URL(url, 'ws://fake').searchParams;
    this.#socket = socket;
    this.closed = once(socket, 'close').then(([code]) => code as number);
    socket.on('error', () => {});
    socket.on('message', (data) => {
      const request = JSON.parse(String(data)) as ClientRequest;
      request.type = request.type.replace('ds:client:', '');
      this.requests.push(request);
      const reply = answer(request, this);
      if (reply !== null) this.acknowledge(request, reply);
    });
  }

  acknowledge(request: ClientRequest, answer: Exclude<Answer, null>): void {
    this.frame('ds:server:message:acknowledged', { ackId: request.ackId, data: null, ...answer });
  }

  hello(body: object = {}): void {
    this.frame('ds:server:connection:acknowledged', {
      uid: 'ana', clientId: 'ana', connectionId: 'app1:0123456789abcdef0123', node: 'f1', graceMs: 10_000, ...body,
    });
  }

  presence(room: string, event: string, fields: object = {}): void {
    this.frame(`app1:${room}:$:presence:${event}`, { event, id: 'app1:x', clientId: 'x', revision: 1, ...fields });
  }

  frame(type: string, body: unknown): void {
    this.#socket.send(JSON.stringify({ type, body }));
  }

  raw(text: string | Buffer): void {
    this.#socket.send(text);
  }

  close(code?: number, reason?: string): void {
    this.#socket.close(code, reason);
  }

  /** Cuts the link without a close frame. */
  cut(): void {
    this.#socket.terminate();
  }
}

export class FakeServer {
  readonly clients: FakeClient[] = [];
  /** Sends no first frame while true. */
  mute = false;
  /** Closes each new socket with this code instead of a first frame. */
  refuseWith: number | undefined;
  /** Refuses the upgrade with this HTTP status. */
  status: number | undefined;
  answer: (request: ClientRequest, client: FakeClient) => Answer;
  readonly #server: WebSocketServer;
  readonly #arrivals = new EventEmitter();
  #claimed = 0;

  private constructor(server: WebSocketServer) {
    this.#server = server;
    this.answer = usual;
    server.on('connection', (socket, request) => {
      const client = new FakeClient(socket, request.url ?? '/', (r, c) => this.answer(r, c));
      this.clients.push(client);
      if (this.refuseWith !== undefined) client.close(this.refuseWith);
      else if (!this.mute) client.hello();
      this.#arrivals.emit('client');
    });
  }

  static async start(): Promise<FakeServer> {
    let fake: FakeServer | undefined;
    const server = new WebSocketServer({
      host: '127.0.0.1',
      port: 0,
      verifyClient: (_info, done) => done(fake?.status === undefined, fake?.status),
    });
    fake = new FakeServer(server);
    await once(server, 'listening');
    return fake;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/core`;
  }

  /** The next connection that was not asked for yet. */
  async next(): Promise<FakeClient> {
    while (this.clients.length <= this.#claimed) await once(this.#arrivals, 'client');
    return this.clients[this.#claimed++]!;
  }

  async stop(): Promise<void> {
    for (const client of this.clients) client.cut();
    await new Promise((done) => this.#server.close(done));
  }
}

/** What the specified server answers, for room `roomId` of app `app1`. */
export function usual({ type, body }: ClientRequest): Answer {
  const nsp = `app1:${body['roomId']}`;
  switch (type) {
    case 'room:join':
      return { data: { uuid: 'u', nspRoomId: nsp, roomName: null, visibility: 'public', memberType: 'member' } };
    case 'room:create':
      return { data: { id: body['roomId'], uuid: 'u', visibility: 'public' } };
    case 'room:leave':
      return { data: nsp };
    case 'room:subscription:bind':
      return { data: `${nsp}::${body['event']}` };
    case 'room:subscription:unbind':
      return { data: body['event'] === undefined ? nsp : `${nsp}::${body['event']}` };
    case 'publish':
      return { data: { id: 'm1', event: body['event'], body: body['data'], sender: { clientId: 'ana', connectionId: 'app1:x' }, timestamp: 1 } };
    case 'room:presence:get':
      return { data: [], revision: 7 };
    case 'room:presence:count':
      return { data: 0, revision: 7 };
    case 'room:presence:unsubscribe:all':
      return { data: true };
    case 'room:presence:subscribe':
    case 'room:presence:unsubscribe':
      return { data: `${nsp}:$:presence:${body['event']}` };
    default:
      return { data: `${nsp}:$:presence:${type.split(':').at(-1)}` };
  }
}
