import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const folder = dirname(fileURLToPath(import.meta.url));

/** The path of a script. */
export const scriptPath = (name: string) => join(folder, 'scripts', name);

/**
 * Bundles the client, so that other processes and threads can import it. Returns the URL, for the
 * variable `LARDER_CLIENT`.
 */
export async function bundledClient(): Promise<string> {
  const outfile = join(
    folder, `../../node_modules/.cache/larder-processes/client-${process.pid}.mjs`,
  );
  await build({
    entryPoints: [join(folder, '../../src/index.ts')],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    logLevel: 'error',
  });
  return pathToFileURL(outfile).href;
}

/** A process that runs a script. */
export class Program {
  output = '';
  errors = '';
  readonly ended: Promise<number | null>;

  private constructor(readonly child: ChildProcess) {
    child.stdout!.on('data', (data) => (this.output += data));
    child.stderr!.on('data', (data) => (this.errors += data));
    this.ended = once(child, 'close').then(([code]) => code);
  }

  static start(script: string, env: Record<string, string>, ...args: string[]): Program {
    const child = spawn(process.execPath, [scriptPath(script), ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new Program(child);
  }

  /** The exit code; rejects after `ms`, and ends the process. */
  async end(ms = 30_000): Promise<number | null> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.child.kill('SIGKILL');
        reject(new Error(`no end within ${ms} ms:\n${this.output}\n${this.errors}`));
      }, ms);
    });
    try {
      return await Promise.race([this.ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The JSON of the last line, after an end without errors. */
  async facts<T = any>(ms?: number): Promise<T> {
    const code = await this.end(ms);
    if (code !== 0) throw new Error(`exit code ${code}:\n${this.output}\n${this.errors}`);
    return JSON.parse(this.output.trim().split('\n').at(-1)!);
  }
}

/** A proxy that can lose its connections as a load balancer does: they stay open, and are dead. */
export class Proxy {
  private readonly pairs = new Set<[Socket, Socket]>();

  private constructor(
    private readonly server: Server,
    readonly target: string,
  ) {}

  static async to(target: string): Promise<Proxy> {
    const server = createServer({ pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const proxy = new Proxy(server, `127.0.0.1:${port}`);
    const [host, serverPort] = target.split(':');
    server.on('connection', (near) => {
      const far = connect(Number(serverPort), host);
      const pair: [Socket, Socket] = [near, far];
      proxy.pairs.add(pair);
      near.pipe(far);
      far.pipe(near);
      const end = () => {
        proxy.pairs.delete(pair);
        near.destroy();
        far.destroy();
      };
      for (const each of pair) each.on('error', end).on('close', end);
    });
    return proxy;
  }

  /** Connections of now answer nothing any more. New ones work. */
  loseConnections(): void {
    for (const [near, far] of this.pairs) {
      near.unpipe(far);
      far.unpipe(near);
      near.resume();
      far.resume();
    }
  }

  async close(): Promise<void> {
    for (const pair of this.pairs) for (const each of pair) each.destroy();
    this.server.close();
    await once(this.server, 'close');
  }
}
