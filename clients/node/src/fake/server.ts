import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pauseProcess, resumeProcess } from './pausing.js';

/** Options of a server for tests. */
export interface LarderServerOptions {
  /** The binary: `LARDER_BIN`, else `larder` on the path. */
  binary?: string;
  /** Configuration in TOML. */
  config?: string;
  /** Variables of the server, such as `LARDER_LOG__LEVEL`. */
  env?: Record<string, string>;
  /** Port; a free one by default. */
  port?: number;
  /** Milliseconds for the start: 10,000. */
  timeout?: number;
}

/** Configuration that makes tests repeatable: TTLs are as they were given. */
const DEFAULT_CONFIG = '[defaults]\nttl_jitter = 0.0\n';
const running = new Set<ChildProcess>();

/** Servers do not outlive a program that ends without stopping them. */
function killRunning(): void {
  for (const child of running) child.kill('SIGKILL');
}

const STOP_MS = 10_000;
const KEPT_LINES = 100;

/** The real server on a free port, with the embedded store. For tests. */
export class LarderServer implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    private readonly directory: string,
    /** `host:port` for `new Client({ target })`. */
    readonly target: string,
    private readonly lines: string[],
  ) {}

  /** Process id. */
  get pid(): number {
    return this.child.pid!;
  }

  /** The last lines of the log. */
  get log(): readonly string[] {
    return this.lines;
  }

  /**
   * Starts a server and waits until it serves.
   *
   * @throws Error with the output of the server if it does not start
   */
  static async start(options: LarderServerOptions = {}): Promise<LarderServer> {
    const binary = options.binary ?? (process.env.LARDER_BIN || 'larder');
    const directory = mkdtempSync(join(tmpdir(), 'larder-test-'));
    const file = join(directory, 'larder.toml');
    writeFileSync(file, options.config ?? DEFAULT_CONFIG);
    // Variables of the caller could point the server at a store that tests must not write to.
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(LARDER|REDIS|OTEL)_/.test(name)),
    );
    const child = spawn(binary, ['serve', '--config', file], {
      env: {
        ...env,
        LARDER_LISTEN: `127.0.0.1:${options.port ?? 0}`,
        LARDER_ADMIN_LISTEN: '127.0.0.1:0',
        LARDER_LOG__FORMAT: 'json',
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (running.size === 0) process.once('exit', killRunning);
    running.add(child);
    const forget = () => {
      running.delete(child);
      if (running.size === 0) process.off('exit', killRunning);
    };
    child.once('close', forget).once('error', forget);
    const lines: string[] = [];
    try {
      const target = await serving(child, lines, options.timeout ?? 10_000, binary);
      child.unref();
      for (const stream of [child.stdout, child.stderr]) (stream as any).unref?.();
      return new LarderServer(child, directory, target, lines);
    } catch (error) {
      child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Makes the server silent: it answers nothing any more when the promise is fulfilled. */
  pause(): Promise<void> {
    return pauseProcess(this.pid);
  }

  /** Ends a pause. */
  resume(): Promise<void> {
    return resumeProcess(this.pid);
  }

  /** Sends a signal. It may take effect after the return. */
  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** Stops the server and waits for its end. It can be repeated. */
  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = once(this.child, 'exit');
      this.child.kill('SIGCONT');
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function serving(
  child: ChildProcess,
  lines: string[],
  timeout: number,
  binary: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      reject(new Error(`${binary} ${why}\n${lines.join('\n')}`));
    };
    const timer = setTimeout(() => fail(`does not serve after ${timeout} ms`), timeout);
    child.once('error', (error) => {
      fail(`cannot be started (LARDER_BIN names another binary): ${error.message}`);
    });
    child.once('exit', (code, signal) => fail(`ended with ${code ?? signal}`));
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        lines.push(line);
        if (lines.length > KEPT_LINES) lines.shift();
        if (!line.includes('serving')) return;
        try {
          const { fields } = JSON.parse(line) as { fields?: { listen?: string } };
          const listen = fields?.listen;
          if (listen === undefined) return;
          clearTimeout(timer);
          child.removeAllListeners('exit');
          resolve(listen);
        } catch {
          // Another line than a record of the log.
        }
      });
    }
  });
}
