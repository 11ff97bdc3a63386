// Once for all files: the two nodes that the browser tests share.
import { startWorld } from './world.js';

export default async function setup({ provide }) {
  const world = await startWorld();
  provide('urls', world.urls);
  provide('sockets', world.sockets);
  return () => world.stop();
}
