// A server for scripted sockets that keeps rooms, subscriptions, presence and revisions of one connection
// and of others, and that can forget: what a resume finds.

import { ScriptedSocket } from './scripted-socket';
import { usual, type Answer, type ClientRequest } from './fake-server';

interface Listed {
  id: string;
  connectionId: string;
  clientId: string;
  event: 'join';
  timestamp: string;
  revision: number;
  data?: unknown;
}

export const own = 'app1:0123456789abcdef0123';

export class PresenceServer {
  readonly joined = new Set<string>();
  /** `<room> <event>` for presence, `<room>::<event>` for messages. */
  readonly bound = new Set<string>();
  readonly members = new Map<string, Map<string, Listed>>();
  revision = 100;
  /** What to answer instead; `null` for nothing. */
  refuse: (request: ClientRequest) => Answer | undefined = () => undefined;
  /** Is told each event of presence, also those that nobody hears. */
  happened: (event: object) => void = () => {};
  #clock = Date.parse('2026-01-01T00:00:00.000Z');

  constructor() {
    ScriptedSocket.answer = (request) => {
      const refused = this.refuse(request);
      return refused === undefined ? this.#answer(request) : refused;
    };
  }

  /** The session is gone, or only its memberships. */
  forget(what: 'all' | 'memberships'): void {
    for (const room of this.members.keys()) this.leave(room, own, 'timeout');
    if (what === 'memberships') return;
    this.joined.clear();
    this.bound.clear();
  }

  /** Someone, or this connection, joins or updates; subscribers are told when there is a socket that hears it. */
  enter(room: string, id: string, data?: unknown): void {
    const members = this.#members(room);
    const known = members.get(id);
    const fields = { id, connectionId: id, clientId: id.slice(5), ...(data === undefined ? {} : { data }), revision: ++this.revision };
    const timestamp = this.#now();
    members.set(id, { ...fields, event: 'join', timestamp: known?.timestamp ?? timestamp });
    this.#tell(room, { ...fields, event: known === undefined ? 'join' : 'update', timestamp });
  }

  leave(room: string, id: string, reason = 'left'): void {
    const known = this.#members(room).get(id);
    if (known === undefined) return;
    this.#members(room).delete(id);
    this.#tell(room, { ...known, event: 'leave', timestamp: this.#now(), revision: ++this.revision, reason });
  }

  list(room: string): Listed[] {
    return [...this.#members(room).values()].reverse();
  }

  #tell(room: string, event: { event: string; timestamp: string; revision: number; reason?: string }): void {
    this.happened(structuredClone(event));
    if (this.bound.has(`${room} ${event.event}`)) ScriptedSocket.last.frame(`app1:${room}:$:presence:${event.event}`, event);
  }

  #answer(request: ClientRequest): Answer {
    const { type, body } = request;
    const room = body['roomId'] as string;
    const needsRoom = /bind$|presence:(subscribe|join|update)$/.test(type) && !type.endsWith('unbind');
    if (needsRoom && !this.joined.has(room)) return { err: { name: 'NotInRoomError', code: 'not_in_room', message: 'no', status: 409 } };
    switch (type) {
      case 'room:join':
        this.joined.add(room);
        break;
      case 'room:leave':
        this.joined.delete(room);
        for (const one of this.bound) if (one.startsWith(`${room} `) || one.startsWith(`${room}::`)) this.bound.delete(one);
        this.leave(room, own);
        break;
      case 'room:subscription:bind':
        this.bound.add(`${room}::${body['event']}`);
        break;
      case 'room:subscription:unbind':
        this.bound.delete(`${room}::${body['event']}`);
        break;
      case 'room:presence:subscribe':
        this.bound.add(`${room} ${body['event']}`);
        break;
      case 'room:presence:unsubscribe':
        this.bound.delete(`${room} ${body['event']}`);
        break;
      case 'room:presence:unsubscribe:all':
        for (const one of this.bound) if (one.startsWith(`${room} `)) this.bound.delete(one);
        break;
      case 'room:presence:join':
        this.enter(room, own, body['userData']);
        break;
      case 'room:presence:update':
        if (!this.#members(room).has(own)) return { err: { name: 'NotMemberError', code: 'not_member', message: 'no', status: 409 } };
        this.enter(room, own, body['userData']);
        break;
      case 'room:presence:leave':
        this.leave(room, own);
        break;
      case 'room:presence:get': {
        const data = structuredClone(this.list(room));
        return { data, revision: data.length === 0 ? 0 : this.revision };
      }
    }
    return usual(request);
  }

  #members(room: string): Map<string, Listed> {
    const members = this.members.get(room) ?? new Map<string, Listed>();
    this.members.set(room, members);
    return members;
  }

  #now(): string {
    return new Date(this.#clock++).toISOString();
  }
}
