// Typed handlers by event name. A handler is called with what was there when
// the event began: one that is added or taken back meanwhile changes nothing
// for the event under way, but that a handler taken back is not called.

type Handler = (...args: any[]) => void;

interface Entry {
  handler: Handler;
  once: boolean;
}

export class Emitter<Events extends { [E in keyof Events]: unknown[] }> {
  readonly #entries = new Map<keyof Events, Set<Entry>>();

  on<E extends keyof Events>(event: E, handler: (...args: Events[E]) => void, once = false): () => void {
    const entry: Entry = { handler, once };
    const entries = this.#entries.get(event) ?? new Set();
    this.#entries.set(event, entries.add(entry));
    return () => {
      entries.delete(entry);
    };
  }

  off<E extends keyof Events>(event?: E, handler?: (...args: Events[E]) => void): void {
    if (event === undefined) {
      for (const entries of this.#entries.values()) entries.clear();
      return;
    }
    for (const entry of this.#entries.get(event) ?? []) {
      if (handler === undefined || entry.handler === handler) this.#entries.get(event)?.delete(entry);
    }
  }

  emit<E extends keyof Events>(event: E, ...args: Events[E]): void {
    const entries = this.#entries.get(event);
    for (const entry of [...(entries ?? [])]) {
      if (!entries?.has(entry)) continue;
      if (entry.once) entries.delete(entry);
      call(entry.handler, args);
    }
  }
}

/**
 * Calls a user's handler. What it throws must not stop the others or the connection, and must not be
 * swallowed: it is thrown again outside, where the platform reports it as it does for its own events.
 */
export function call(handler: Handler, args: unknown[]): void {
  try {
    handler(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
