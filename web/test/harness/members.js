// Members without a tab: the page's own SDK in Node, many connections at once.
import WebSocket from 'ws';
import { RelayBox } from '../../sdk.js';
import { KEY } from './world.js';

/** Connects and joins; answers `{box, room}`. */
export async function member(socket, roomId, clientId, data) {
  const box = new RelayBox({ apiKey: KEY, clientId, url: socket, WebSocket });
  await box.connect();
  const room = await box.join(roomId);
  await room.presence.join(data);
  return { box, room, leave: () => box.disconnect() };
}

/** A raw socket, to send JSON that no SDK would write. Resolves with the answer. */
export async function raw(socket, clientId, ...messages) {
  const url = `${socket}?${new URLSearchParams({ apiKey: KEY, clientId })}`;
  const ws = new WebSocket(url);
  const wait = (want) => new Promise((done, failed) => {
    ws.on('error', failed);
    ws.on('message', (text) => String(text).includes(want) && done(String(text)));
  });
  await wait('connection:acknowledged');
  const answers = [];
  for (const [i, text] of messages.entries()) {
    const answer = wait(`"ackId":"${i}"`);
    ws.send(text.replace('ACK', String(i)));
    answers.push(await answer);
  }
  return { close: () => ws.close(), answers };
}
