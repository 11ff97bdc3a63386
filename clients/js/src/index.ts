// @relaybox/client: rooms, messages and presence sets over one websocket.

export { RelayBox, RelayBox as default } from './relaybox';
export { RelayBoxError } from './errors';
export type * from './types';
