// Drives vans from Node, for more of them than a browser holds sockets (about 250):
//   npm run vans -- 2000 ws://localhost:9000/core,ws://localhost:9001/core fleet-north
import WebSocket from 'ws';
import { Van } from '../fleet/van.js';
import { KEY } from './harness/world.js';

const [count = '200', sockets = 'ws://localhost:9000/core', room = 'fleet-north', apiKey = KEY] = process.argv.slice(2);
const config = { nodes: sockets.split(',').map((socket, i) => ({ id: `n${i + 1}`, socket })), apiKey, room, WebSocket };
const vans = [];
let failed = 0;
process.on('SIGINT', () => {
  for (const van of vans) van.end();
  console.log('stopped.');
  process.exit(0);
});
for (let i = 0; i < Number(count); i++) {
  const van = new Van(i, config);
  vans.push(van);
  van.run().catch((error) => {
    if (++failed === 1) console.error(`a van could not drive: ${error.message}`);
  });
  if (i % 10 === 9) await new Promise((done) => setTimeout(done, 20));
}
console.log(`${vans.length} vans are on their way in ${room}; Ctrl-C ends them.`);
