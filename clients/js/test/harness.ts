// A real Redis and two real nodes for the integration tests, on free ports, in a folder of their own.
//
// PRESENCE_BIN names the server, ../../bin/presence without it; PRESENCE_REDIS the Redis.
// Everything that is started here is stopped here, by its process id.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** What the tests need to know of what runs. */
export interface Stack {
  /** The websocket addresses of the two nodes, `n1` and `n2`. */
  urls: [string, string];
  /** May do everything. */
  apiKey: string;
  /** May join, subscribe and publish, and nothing with presence. */
  noPresenceKey: string;
}

const secret = 'onlyfortests000000000000';

export async function startStack(): Promise<{ stack: Stack; stop(): Promise<void> }> {
  const presence = presenceBinary();
  const folder = mkdtempSync(join(tmpdir(), 'sdk-'));
  const children: ChildProcess[] = [];
  const stop = async (): Promise<void> => {
    // The nodes first: they say goodbye to Redis.
    for (const child of children.toReversed()) await end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const socket = join(folder, 'r.sock');
    const args = ['--port', '0', '--unixsocket', socket, '--dir', folder, '--save', '', '--appendonly', 'no', '--notify-keyspace-events', 'Ex'];
    const redis = start(children, folder, 'redis', redisBinary(folder), args, {});
    await until(() => redisListens(socket), [redis], join(folder, 'redis.log'));
    const auth = join(folder, 'auth.yaml');
    writeFileSync(auth, authFile);
    const ports = await freePorts(4);
    const nodes = [0, 1].map((n) =>
      start(children, folder, `n${n + 1}`, presence, ['serve'], {
        PRESENCE_NODE_ID: `n${n + 1}`,
        PRESENCE_LISTEN_CLIENT: `127.0.0.1:${ports[2 * n]}`,
        PRESENCE_LISTEN_ADMIN: `127.0.0.1:${ports[2 * n + 1]}`,
        PRESENCE_REDIS_URL: `unix://${socket}`,
        PRESENCE_AUTH_FILE: auth,
      }),
    );
    for (const [n, node] of nodes.entries()) {
      await until(() => isReady(ports[2 * n]!), [node, redis], join(folder, `n${n + 1}.log`));
    }
    return {
      stack: {
        urls: [`ws://127.0.0.1:${ports[0]}/core`, `ws://127.0.0.1:${ports[2]}/core`],
        apiKey: `sdktests.full:${secret}`,
        noPresenceKey: `sdktests.nopresence:${secret}`,
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

const authFile = `apps:
  - id: sdktests
    keys:
      - id: full
        secret: "${secret}"
        permissions: ["*"]
        enabled: true
      - id: nopresence
        secret: "${secret}"
        permissions: ["join", "subscribe", "publish"]
        enabled: true
`;

function presenceBinary(): string {
  const path = resolve(process.env['PRESENCE_BIN'] ?? join(import.meta.dirname, '../../../bin/presence'));
  if (runs(path)) return path;
  throw new Error(`${path} is not there. Type, in the project's folder:\n\n  go build -o bin/presence ./cmd/presence\n\nor name it: PRESENCE_BIN=/path/to/presence npm test`);
}

function redisBinary(folder: string): string {
  const named = process.env['PRESENCE_REDIS'] ?? find('redis-server');
  if (named !== undefined && runs(named)) return named;
  // Debian's redis-tools holds the same program under another name, and no service.
  const other = find('redis-check-rdb');
  if (named !== undefined || other === undefined) {
    throw new Error('redis-server is not there. Type:\n\n  apt-get install redis-tools\n\nor name it: PRESENCE_REDIS=/path/to/redis-server npm test');
  }
  const link = join(folder, 'redis-server');
  symlinkSync(other, link);
  return link;
}

function find(program: string): string | undefined {
  return (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, program)).find(runs);
}

function runs(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function start(children: ChildProcess[], folder: string, name: string, program: string, args: string[], env: Record<string, string>): ChildProcess {
  const log = openSync(join(folder, `${name}.log`), 'w');
  // Where there is setpriv the child dies with us, however we die.
  const setpriv = process.platform === 'linux' ? find('setpriv') : undefined;
  const [command, rest] = setpriv === undefined ? [program, args] : [setpriv, ['--pdeathsig', 'KILL', program, ...args]];
  const child = spawn(command, rest, { cwd: folder, env: { PATH: process.env['PATH'], ...env }, stdio: ['ignore', log, log] });
  children.push(child);
  return child;
}

// Asks until the answer is yes, or one of the processes has ended, or 15 s have passed.
async function until(ask: () => Promise<boolean>, alive: ChildProcess[], log: string): Promise<void> {
  const limit = performance.now() + 15_000;
  while (alive.every(({ exitCode, signalCode }) => exitCode === null && signalCode === null) && performance.now() < limit) {
    if (await ask()) return;
    await wait(20);
  }
  throw new Error(`it did not become ready: ${log} ends with\n${readFileSync(log, 'utf8').slice(-2_000)}`);
}

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
  } catch {
    return false; // not listening yet
  }
}

async function redisListens(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGINT');
  const hard = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await exit;
  clearTimeout(hard);
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
