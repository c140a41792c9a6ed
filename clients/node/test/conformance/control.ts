/** The control program (crates/client-control): servers, faults and recorded calls. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';

const REPOSITORY = resolve(import.meta.dirname, '../../../..');
export const CONFORMANCE = join(REPOSITORY, 'clients/conformance');

function program(variable: string, name: string): string {
  return process.env[variable] || join(REPOSITORY, 'target/debug', name);
}

/** The programs that are not built, with the variables that name others. */
export function missingPrograms(): string[] {
  const wanted = { LARDER_BIN: 'larder', LARDER_CLIENT_CONTROL: 'client-control' };
  return Object.entries(wanted).flatMap(([variable, name]) => {
    try {
      accessSync(program(variable, name), constants.X_OK);
      return [];
    } catch {
      return [`${program(variable, name)} (${variable})`];
    }
  });
}

export type ServerState = 'stop' | 'start' | 'pause' | 'resume';

/** A running control program, with one server. */
export class Control {
  addresses: Record<string, string> = {};
  private state: ServerState = 'start';
  private readonly waiting: { resolve: (answer: any) => void; reject: (error: Error) => void }[] =
    [];

  private constructor(
    private readonly process: ChildProcessWithoutNullStreams,
    private readonly lines: Interface,
  ) {
    lines.on('line', (line) => {
      const answer = JSON.parse(line);
      const next = this.waiting.shift();
      if (answer.error === undefined) next?.resolve(answer.ok);
      else next?.reject(new Error(`control program: ${answer.error}`));
    });
    lines.on('close', () => {
      const error = new Error('the control program has ended');
      for (const { reject } of this.waiting.splice(0)) reject(error);
    });
  }

  /** Starts the program and a server. */
  static async start(store = 'memory'): Promise<Control> {
    const child = spawn(program('LARDER_CLIENT_CONTROL', 'client-control'));
    child.stderr.pipe(process.stderr);
    const control = new Control(child, createInterface(child.stdout));
    control.addresses = await control.do('start', {
      binary: program('LARDER_BIN', 'larder'),
      config: join(CONFORMANCE, 'larder.toml'),
      store,
    });
    return control;
  }

  /** Runs a command, and returns its result. */
  do(command: string, args: object = {}): Promise<any> {
    return new Promise((onResult, reject) => {
      this.waiting.push({ resolve: onResult, reject });
      this.process.stdin.write(`${JSON.stringify({ do: command, ...args })}\n`);
    });
  }

  /** Forgets calls, script and faults. The gateway has another port afterwards. */
  async clear(): Promise<void> {
    this.addresses = await this.do('clear');
  }

  /** Stops, starts, pauses or resumes the server. */
  async server(state: ServerState): Promise<void> {
    await this.do('server', { state });
    this.state = state;
  }

  /** The server runs again, whatever a case has done to it. */
  async restore(): Promise<void> {
    if (this.state === 'pause') await this.server('resume');
    else if (this.state === 'stop') await this.server('start');
  }

  /** Ends the program, and with it the server. */
  async close(): Promise<void> {
    const ended = new Promise((onEnd) => this.process.once('exit', onEnd));
    this.process.stdin.end();
    await ended;
    this.lines.close();
  }
}
