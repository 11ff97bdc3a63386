// Waiting before the next try.

export interface Backoff {
  baseMs: number;
  capMs: number;
}

/**
 * Full jitter: a random time from 0 to `min(capMs, baseMs * 2^(attempt-1))`. Clients that lost the same
 * node at the same moment come back spread over the whole of it.
 */
export function delayMs(attempt: number, { baseMs, capMs }: Backoff, random: () => number = Math.random): number {
  return Math.round(random() * Math.min(capMs, baseMs * 2 ** (attempt - 1)));
}

/** Resolves after `ms`; rejects, with the timer released, as soon as `signal` says so. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal.addEventListener('abort', stop, { once: true });
  });
}

/** Lets `burst` through at once and then one every `everyMs`. */
export class Pace {
  readonly #everyMs: number;
  readonly #slackMs: number;
  #next = 0;

  constructor(burst: number, everyMs: number) {
    this.#everyMs = everyMs;
    this.#slackMs = (burst - 1) * everyMs;
  }

  async turn(signal: AbortSignal): Promise<void> {
    const now = performance.now();
    const due = Math.max(now, this.#next);
    this.#next = due + this.#everyMs;
    const wait = due - now - this.#slackMs;
    if (wait > 0) await pause(wait, signal);
  }
}
