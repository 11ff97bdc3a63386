// What the platform tells of the network and of the page: browsers do, Node does not.
//
//   offline          attempts would be in vain
//   online, visible, back from the back-forward cache or from a freeze: look at once,
//                    since a socket that died meanwhile may not have said so
//
// A page that is closed needs nothing: the browser ends its socket with 1001.

export interface PlatformHooks {
  offline(): void;
  wake(): void;
}

/** Calls the hooks until the undo that it returns is called. */
export function watchPlatform({ offline, wake }: PlatformHooks): () => void {
  const page = (globalThis as { document?: Document }).document;
  const undo: (() => void)[] = [];
  const on = (target: EventTarget | undefined, name: string, handler: (event: Event) => void): void => {
    if (typeof target?.addEventListener !== 'function') return;
    target.addEventListener(name, handler);
    undo.push(() => target.removeEventListener(name, handler));
  };
  const world = globalThis as unknown as EventTarget; // a window or a worker
  on(world, 'offline', offline);
  on(world, 'online', wake);
  on(world, 'pageshow', (event) => {
    if ((event as PageTransitionEvent).persisted) wake();
  });
  on(page, 'visibilitychange', () => {
    if (page?.visibilityState === 'visible') wake();
  });
  on(page, 'resume', wake);
  return () => {
    for (const one of undo) one();
  };
}

/** Whether the platform knows that there is no network; false where it can't tell. */
export function isOffline(): boolean {
  return (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false;
}
