// The cable between this tab and its node. It is a WebSocket class for the
// SDK's `WebSocket` option: pulled, its socket closes with a code that is not a
// goodbye, and every new one fails until it is plugged in again. It also lets
// the page see frames as they came, to show them to the letter.

const LOST = 4000; // anything but 1000, 1001 and 1005 is a lost line to the server

/** A socket on a cable that is out: fails soon after it was made, as a real one would. */
class DeadSocket extends EventTarget {
  readyState = 0;
  url; protocol = ''; extensions = ''; bufferedAmount = 0; binaryType = 'blob';
  onopen = null; onmessage = null; onerror = null; onclose = null;

  constructor(url) {
    super();
    this.url = String(url);
    setTimeout(() => this.#end(), 50);
  }

  #end() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#tell(new Event('error'), this.onerror);
    this.#tell(new CloseEvent('close', { code: 1006, wasClean: false }), this.onclose);
  }

  #tell(event, handler) {
    this.dispatchEvent(event);
    handler?.call(this, event);
  }

  send() {}
  close() { this.#end(); }
}

/**
 * Makes a cable. `onFrame(text)` sees every frame before the SDK does.
 * `Socket` goes to the SDK; `pull()` and `plug()` are for the person.
 */
export function cable(onFrame) {
  const live = new Set();
  let out = false;
  class Socket extends WebSocket {
    constructor(url, protocols) {
      if (out) return new DeadSocket(url);
      super(url, protocols);
      live.add(this);
      this.addEventListener('message', ({ data }) => onFrame?.(data));
      this.addEventListener('close', () => live.delete(this));
    }
  }
  return {
    Socket,
    get out() { return out; },
    pull() {
      out = true;
      for (const socket of live) socket.close(LOST, 'cable pulled');
    },
    plug() { out = false; },
  };
}
