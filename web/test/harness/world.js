// A private Redis and nodes of the real binary on free ports. Everything that
// is started here is stopped here, by its pid, and dies with this process.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const KEY = 'localapp.localkey:localonlysecret000000000';
const BINARY = process.env.PRESENCE_BIN ?? fileURLToPath(new URL('../../../bin/presence', import.meta.url));

const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Starts Redis and as many nodes as asked, `n1`, `n2`, …; resolves when they are ready. */
export async function startWorld(count = 2) {
  const dir = mkdtempSync(join(tmpdir(), 'page-'));
  const redisPort = await freePort();
  const redis = run(redisBinary(dir), ['--port', String(redisPort), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no', '--notify-keyspace-events', 'Ex', '--loglevel', 'warning']);
  await until(redis, () => answers(redisPort, 'PING\r\n', /^\+PONG/));

  const ports = [];
  for (let i = 0; i < count; i++) ports.push({ client: await freePort(), admin: await freePort() });
  const list = ports.map((p, i) => `n${i + 1}=:${p.client}`).join(',');
  const start = async (i) => {
    const { client, admin } = ports[i];
    const child = run(BINARY, ['serve'], {
      PRESENCE_NODE_ID: `n${i + 1}`,
      PRESENCE_LISTEN_CLIENT: `127.0.0.1:${client}`, PRESENCE_LISTEN_ADMIN: `127.0.0.1:${admin}`,
      PRESENCE_REDIS_URL: `redis://127.0.0.1:${redisPort}/0`,
      PRESENCE_DEMO: 'true', PRESENCE_DEMO_NODES: list, PRESENCE_AUTH_KEYS: KEY,
      PRESENCE_LOG_LEVEL: 'warn', PRESENCE_LOG_FORMAT: 'text',
    });
    await until(child, () => answers(admin, 'GET /readyz HTTP/1.0\r\n\r\n', /^HTTP\/1\.\d 200/));
    return child;
  };
  const nodes = [];
  for (let i = 0; i < count; i++) nodes.push(await start(i));

  return {
    redisPort,
    urls: ports.map((p) => `http://127.0.0.1:${p.client}/`),
    sockets: ports.map((p) => `ws://127.0.0.1:${p.client}/core`),
    /** Ends a node at once; its clients keep their memberships for a while. */
    async end(i) { await stop(nodes[i], 'SIGINT'); }, // SIGTERM would drain
    /** Starts it again on the same port. */
    async revive(i) { nodes[i] = await start(i); },
    /** Redis stops answering, its links stay open. */
    pauseRedis() { redis.kill('SIGSTOP'); },
    resumeRedis() { redis.kill('SIGCONT'); },
    async stop() {
      await Promise.all(nodes.map((n) => stop(n, 'SIGINT')));
      await stop(redis, 'SIGTERM');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function run(command, args, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.said = '';
  const hear = (data) => { child.said = (child.said + data).slice(-4000); };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  child.on('error', (error) => hear(error.message));
  child.once('exit', () => children.delete(child));
  return child;
}

async function stop(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await ended;
  clearTimeout(late);
}

/** Asks until the answer is yes; rejects when the process has ended instead. */
async function until(child, ready) {
  for (const end = Date.now() + 20_000; Date.now() < end;) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) break;
    if (await ready()) return;
    await new Promise((done) => setTimeout(done, 30));
  }
  throw new Error(`${child.spawnfile} did not start:\n${child.said}`);
}

function answers(port, question, want) {
  return new Promise((done) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(question));
    let text = '';
    socket.setTimeout(1000, () => socket.destroy());
    socket.on('data', (data) => {
      text += data;
      if (want.test(text)) socket.destroy();
    });
    socket.on('error', () => {});
    socket.on('close', () => done(want.test(text)));
  });
}

export function freePort() {
  return new Promise((done, failed) => {
    const server = net.createServer();
    server.on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** redis-server, or Debian's same binary under the name of its checker (package redis-tools). */
function redisBinary(dir) {
  if (process.env.PRESENCE_REDIS) return process.env.PRESENCE_REDIS;
  const found = (name) => (process.env.PATH ?? '').split(delimiter).map((d) => join(d, name)).find((file) => {
    try {
      accessSync(file, 1);
      return true;
    } catch {
      return false;
    }
  });
  const server = found('redis-server');
  if (server) return server;
  const checker = found('redis-check-rdb');
  if (!checker) throw new Error('no redis-server: apt-get install redis-tools, or set PRESENCE_REDIS');
  symlinkSync(checker, join(dir, 'redis-server'));
  return join(dir, 'redis-server');
}
