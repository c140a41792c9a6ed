import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const LIMIT_MS = 10_000;
const LOOK_MS = 2;

/** The state letters of the threads of a process. Undefined: this system does not have them. */
function threadStates(pid: number): string[] | undefined {
  const folder = `/proc/${pid}/task`;
  if (!existsSync('/proc/self/task')) return undefined;
  return readdirSync(folder).flatMap((thread) => {
    try {
      const stat = readFileSync(`${folder}/${thread}/stat`, 'utf8');
      // The name of a thread, in parentheses, may have spaces and parentheses itself.
      return [stat.charAt(stat.lastIndexOf(')') + 2)];
    } catch (error) {
      // A thread that has ended meanwhile.
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ESRCH') return [];
      throw error;
    }
  });
}

async function until(pid: number, stopped: boolean): Promise<void> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const states = threadStates(pid);
    if (states === undefined || states.every((state) => (state === 'T') === stopped)) return;
    if (performance.now() > deadline) {
      const what = stopped ? 'stopped' : 'resumed';
      throw new Error(`process ${pid} has not ${what} within ${LIMIT_MS} ms: ${states.join('')}`);
    }
    await sleep(LOOK_MS);
  }
}

/**
 * Stops a process, and waits until all of its threads stand still: the signal alone returns before
 * that, and the process may still answer. The wait is for systems with `/proc`.
 *
 * @throws Error if there is no such process, or it does not stop within 10 s
 */
export async function pauseProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until(pid, true);
}

/** Lets a process go on, and waits until no thread of it stands still. */
export async function resumeProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGCONT');
  await until(pid, false);
}
