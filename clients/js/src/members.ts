// The live map of who is present: a read-only view of the roster, and who is told of its changes.
//
//   ready(), onChange() ─▶ open(): follow joins, updates and leaves ─▶ list ─▶ live
//   roster.changed ─▶ noted by connection ─▶ one call a microtask, with the difference

import { call } from './emitter';
import { RelayBoxError } from './errors';
import type { Roster } from './roster';
import type { Members, MembersChange, PresentMember } from './types';

/** What the map needs of its set. */
export interface MembersHost {
  /** Subscribes, and has the roster learn the list. */
  open(): Promise<() => Promise<void>>;
  /** Tells what no call can be told. */
  report(error: RelayBoxError): void;
}

type Listener = (change: MembersChange, members: Members) => void;

export class MembersMap implements Members {
  readonly #roster: Roster;
  readonly #host: MembersHost;
  readonly #listeners = new Set<{ listener: Listener }>();
  // Who changed since the listeners were called, as it was then.
  readonly #before = new Map<string, PresentMember | undefined>();
  #opening: Promise<void> | undefined;
  #undo: (() => Promise<void>) | undefined;

  constructor(roster: Roster, host: MembersHost) {
    this.#roster = roster;
    this.#host = host;
  }

  get revision(): number {
    return this.#roster.revision;
  }

  get live(): boolean {
    return this.#opening !== undefined && this.#roster.whole && !this.#roster.behind;
  }

  get size(): number {
    return this.#there.size;
  }

  get(id: string): PresentMember | undefined {
    return this.#there.get(id);
  }

  has(id: string): boolean {
    return this.#there.has(id);
  }

  keys(): MapIterator<string> {
    return this.#there.keys();
  }

  values(): MapIterator<PresentMember> {
    return this.#there.values();
  }

  entries(): MapIterator<[string, PresentMember]> {
    return this.#there.entries();
  }

  [Symbol.iterator](): MapIterator<[string, PresentMember]> {
    return this.#there.entries();
  }

  forEach(each: (value: PresentMember, id: string, map: ReadonlyMap<string, PresentMember>) => void): void {
    for (const [id, member] of this.#there) each(member, id, this);
  }

  get [Symbol.toStringTag](): string {
    return 'Members';
  }

  async ready(): Promise<Members> {
    await this.#open();
    return this as Members;
  }

  onChange(listener: Listener): () => void {
    const entry = { listener };
    this.#listeners.add(entry);
    this.#open().catch((error: RelayBoxError) => this.#host.report(error));
    return () => {
      this.#listeners.delete(entry);
    };
  }

  async close(): Promise<void> {
    const undo = this.#undo;
    this.#undo = this.#opening = undefined;
    await undo?.();
  }

  /** The roster's. */
  changed(id: string, before: PresentMember | undefined): void {
    if (this.#listeners.size === 0 || this.#opening === undefined || !this.#roster.whole) return;
    if (this.#before.size === 0) queueMicrotask(() => this.#tell());
    if (!this.#before.has(id)) this.#before.set(id, before);
  }

  // Before the list only a part would be known.
  get #there(): ReadonlyMap<string, PresentMember> {
    return this.#opening !== undefined && this.#roster.whole ? this.#roster.known : nobody;
  }

  #open(): Promise<void> {
    if (this.#opening !== undefined) return this.#opening;
    const opening = (this.#opening = this.#host.open().then(
      (undo) => {
        if (this.#opening !== opening) return undo(); // closed meanwhile
        this.#undo = undo;
        return undefined;
      },
      (error: RelayBoxError) => {
        if (this.#opening === opening) this.#opening = undefined;
        throw error;
      },
    ));
    // The application has asked for the list before: to the listeners all of it is new.
    for (const id of this.#roster.known.keys()) this.changed(id, undefined);
    return opening;
  }

  #tell(): void {
    const change: MembersChange = { joined: [], updated: [], left: [] };
    for (const [id, before] of this.#before) {
      const now = this.#roster.known.get(id);
      if (before !== undefined && before.timestamp === now?.timestamp) {
        if (before !== now) change.updated.push(now);
        continue;
      }
      if (before !== undefined) change.left.push(before);
      if (now !== undefined) change.joined.push(now);
    }
    this.#before.clear();
    if (change.joined.length + change.updated.length + change.left.length === 0) return;
    for (const entry of [...this.#listeners]) {
      if (this.#listeners.has(entry)) call(entry.listener, [change, this]);
    }
  }
}

const nobody: ReadonlyMap<string, PresentMember> = new Map();
