import type { RelayBox } from '../src/index';
import type { ConnectionEventMap } from '../src/types';

/** Every event of a connection, but those of a page. */
export const names: (keyof ConnectionEventMap)[] = [
  'connecting', 'connect', 'disconnect', 'error', 'reconnecting', 'reconnected', 'reconnect_failed',
];

/** Every event as it comes, by name and arguments. */
export function record(relayBox: RelayBox): unknown[][] {
  const log: unknown[][] = [];
  for (const name of names) relayBox.connection.on(name, (...args: unknown[]) => log.push([name, ...args]));
  return log;
}

export const words = (log: unknown[][]): unknown[] => log.map(([name]) => name);
