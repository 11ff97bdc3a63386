// What this connection was told of one presence set, so that after an outage it can be told the rest.
//
//   frame ─▶ hear() ── told before? ── yes ─▶ dropped
//                          │ no
//                          ├─▶ known: who is there, by what was told
//                          └─▶ handlers
//   list of get() ─▶ learn(): known is what the list says (the application asked, or `members` begins)
//                 └▶ catchUp(): after an outage, what the list says and handlers were not told is told
//
// Events of a room reach a connection in the order of their revisions, and some may share one
// (what a node found out by comparing). So what is below `told`, or at it and heard there, was
// told before: replayed after a resume, or held by the list that closed the outage.
//
// A list is true at its revision; `known` is then the list, and what was heard above it
// since it was asked for (`journal`). An empty room's list has no revision: what comes of the
// memberships that it ended is then told apart by the time of their join (`ended`).
//
// Who is there can only be known while joins and leaves are followed, and for certain (`whole`) only
// from a list on. Without one an outage's difference is told as far as it can be: a leave of
// someone whom nobody was told of means nothing.

import type { Inlet } from './subscriptions';
import type { Member, MemberList, PresenceEvent, PresentMember } from './types';

/** What the roster needs of its set. */
export interface RosterHost {
  /** Whether events of that name are followed. */
  follows(name: string): boolean;
  /** Calls the handlers of an event that no frame brought. */
  tell(event: PresenceEvent): void;
  /** `now` has taken the place of `before` in `known`. */
  changed(id: string, before: PresentMember | undefined): void;
}

// An outage that is not caught up with: where handlers were when it began, and the
// revisions that they heard since, by connection.
interface Outage {
  told: number | undefined;
  heardAt: string;
  since: Map<string, number>;
}

type Tell = (body: Record<string, unknown>) => void;

export class Roster implements Inlet {
  readonly #host: RosterHost;
  /** By connection id, in the order of joining. */
  readonly known: Map<string, PresentMember> = new Map();
  /** Whether `known` is all. */
  whole = false;
  /** The revision at which `known` is true. */
  revision = 0;
  // Of the last list: what is not above it is in it.
  #base = 0;
  // Up to where handlers were told everything; undefined: nothing to compare with.
  #told: number | undefined;
  // What was heard at #told; undefined: all of it.
  #at: Set<string> | undefined;
  // The newest join or change that was heard of, by the server's clock.
  #heardAt = '';
  // What was heard while lists are on their way.
  #journal: PresenceEvent[] = [];
  #lists = 0;
  #outage: Outage | undefined;
  // Memberships that an empty list ended, with the time of their join.
  readonly #ended = new Map<string, string>();

  constructor(host: RosterHost) {
    this.#host = host;
  }

  hear(body: Record<string, unknown>, tell: Tell): void {
    const event = body as unknown as PresenceEvent;
    const { connectionId: id, revision } = event;
    if (!this.#host.follows(event.event)) return; // on its way when it was taken back
    if (typeof revision !== 'number' || typeof id !== 'string') {
      tell(body); // a server that has no revisions
      return;
    }
    if (this.#toldBefore(event) || this.#meaningless(event)) return;
    if (revision !== this.#told) [this.#told, this.#at] = [revision, new Set()];
    this.#at?.add(keyOf(event));
    if (event.timestamp > this.#heardAt) this.#heardAt = event.timestamp;
    this.#outage?.since.set(id, revision);
    if (this.#lists > 0) this.#journal.push(event);
    const known = this.#certain(revision) ? this.known.get(id) : undefined;
    this.#fold(event);
    if (event.event === 'join' && known !== undefined) this.#host.tell(leaveOf(known, revision)); // which was lost
    tell(body);
  }

  lapsed(name: string): void {
    if (name !== 'update') this.#forget();
    if (!['join', 'update', 'leave'].some((one) => this.#host.follows(one))) {
      this.#told = this.#outage = undefined;
    }
  }

  /** Whether there was an outage that is not caught up with. */
  get behind(): boolean {
    return this.#outage !== undefined;
  }

  /** The socket is gone: from here on something may be missed. */
  lose(): void {
    this.#outage ??= { told: this.#told, heardAt: this.#heardAt, since: new Map() };
  }

  /** Whatever became of it, the outage is over. */
  settled(): void {
    this.#outage = undefined;
  }

  /** Everything ends with the room. */
  end(): void {
    this.#forget();
    this.#told = this.#outage = undefined;
  }

  /** Fetches a list; what is heard meanwhile is kept for what is made of it. */
  async fetch(get: () => Promise<MemberList>, use: (list: MemberList) => void): Promise<MemberList> {
    this.#lists++;
    try {
      const list = await get();
      use(list);
      return list;
    } finally {
      if (--this.#lists === 0) this.#journal = [];
    }
  }

  /** The application has this list, or `members` begins with it. Handlers are told nothing. */
  readonly learn = (list: MemberList): void => {
    if (!this.#tracks() || this.behind) return; // catchUp must see what they were told
    const before = new Map(this.whole ? this.known : []); // what was known of a part was not told
    this.#take(list);
    this.#compare(before);
  };

  /** The list after an outage: handlers are told what they were not. */
  readonly catchUp = (list: MemberList): void => {
    const { told, heardAt, since } = this.#outage ?? { told: undefined, heardAt: '', since: new Map<string, number>() };
    this.#outage = undefined;
    const before = new Map(this.known);
    const missed: PresenceEvent[] = [];
    for (const member of byJoin(list).sort((a, b) => a.revision - b.revision)) {
      const { connectionId: id, timestamp, revision } = member;
      const known = before.get(id);
      const newer = told !== undefined && revision > told;
      if ((since.get(id) ?? 0) >= revision) continue;
      if (known !== undefined && known.timestamp !== timestamp) missed.push(leaveOf(known, revision));
      if (known?.timestamp === timestamp) {
        if (revision > known.revision) missed.push(updateOf(member));
      } else if (known !== undefined || this.whole || (newer && timestamp > heardAt)) {
        missed.push(structuredClone({ ...member, event: 'join' }));
      } else if (newer) {
        missed.push(updateOf(member));
      }
    }
    const there = new Set(list.map(({ connectionId }) => connectionId));
    if (list.revision > 0) this.#ended.clear();
    // What emptied a room came after all that was known of it.
    const end = list.revision > 0 ? list.revision : Math.max(this.revision, this.#told ?? 0) + 1;
    for (const [id, member] of before) {
      if (there.has(id) || (since.get(id) ?? 0) > list.revision) continue;
      missed.push(leaveOf(member, end));
      if (list.revision === 0) this.#ended.set(id, member.timestamp);
    }
    // A room that fills again begins above what it was at, so that what was told stays below.
    if (list.revision > 0 && (since.size === 0 || (this.#told ?? 0) <= list.revision)) [this.#told, this.#at] = [list.revision, undefined];
    if (this.#tracks()) {
      const shown = this.whole ? before : new Map<string, PresentMember>();
      this.#take(list);
      this.#compare(shown);
    }
    for (const event of missed) this.#host.tell(event);
  };

  #toldBefore(heard: PresenceEvent): boolean {
    const { event, connectionId: id, revision, timestamp } = heard;
    const ended = this.#ended.get(id);
    if (ended !== undefined) {
      if (event !== 'join' || timestamp === ended) return true;
      this.#ended.delete(id);
    }
    if (this.#told === undefined || revision > this.#told) return false;
    return revision < this.#told || this.#at === undefined || this.#at.has(keyOf(heard));
  }

  // Of someone whom nobody was told of: a leave means nothing, and what led to an update was lost: the list tells.
  #meaningless({ event, connectionId, revision }: PresenceEvent): boolean {
    return this.#certain(revision) && event !== 'join' && !this.known.has(connectionId);
  }

  // Whether `known` is all there was before that revision.
  #certain(revision: number): boolean {
    return this.whole && this.#tracks() && revision > this.#base;
  }

  #fold(event: PresenceEvent): void {
    if (!this.#tracks() || event.revision <= this.#base) return;
    const { connectionId: id } = event;
    const before = this.known.get(id);
    this.revision = Math.max(this.revision, event.revision);
    this.#apply(event);
    if (this.known.get(id) !== before) this.#host.changed(id, before);
  }

  #apply(heard: PresenceEvent): void {
    const { event, ...fields } = structuredClone(heard); // handlers may do to theirs what they like
    const known = this.known.get(fields.connectionId);
    if (event === 'leave') {
      this.known.delete(fields.connectionId);
    } else if (event === 'join') {
      this.known.delete(fields.connectionId); // a join by one we know is another membership: it stands last
      this.known.set(fields.connectionId, fields);
    } else if (known !== undefined) {
      this.known.set(fields.connectionId, { ...fields, timestamp: known.timestamp });
    }
  }

  #take(list: MemberList): void {
    this.known.clear();
    for (const listed of byJoin(list)) {
      const { event: _event, ...member } = structuredClone(listed);
      this.known.set(member.connectionId, member);
    }
    this.#base = this.revision = list.revision;
    this.whole = true;
    const newest = list[0]?.timestamp ?? '';
    if (newest > this.#heardAt) this.#heardAt = newest;
    for (const event of this.#journal) {
      if (event.revision <= list.revision) continue;
      this.revision = Math.max(this.revision, event.revision);
      this.#apply(event);
    }
  }

  #compare(before: ReadonlyMap<string, PresentMember>): void {
    for (const id of new Set([...before.keys(), ...this.known.keys()])) {
      const was = before.get(id);
      const is = this.known.get(id);
      if (was?.revision !== is?.revision || was?.timestamp !== is?.timestamp) this.#host.changed(id, was);
      else if (was !== undefined) this.known.set(id, was); // whoever holds it keeps it
    }
  }

  #tracks(): boolean {
    return this.#host.follows('join') && this.#host.follows('leave');
  }

  #forget(): void {
    const before = new Map(this.known);
    this.known.clear();
    this.#ended.clear();
    this.whole = false;
    this.#base = this.revision = 0;
    this.#compare(before);
  }
}

const byJoin = (list: readonly Member[]): Member[] =>
  [...list].reverse().sort((a, b) => (a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : 0));

const keyOf = ({ event, connectionId }: PresenceEvent): string => `${event} ${connectionId}`;

// When it happened nobody can say any more: the time is that of finding it out.
const found = (): string => new Date().toISOString();

function updateOf(member: Member): PresenceEvent {
  return structuredClone({ ...member, event: 'update', timestamp: found() });
}

function leaveOf(member: PresentMember, revision: number): PresenceEvent {
  return structuredClone({ ...member, event: 'leave', timestamp: found(), revision, reason: 'unknown' });
}
