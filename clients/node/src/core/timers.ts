import { setMaxListeners } from 'node:events';
import { timerDelay } from './durations.js';

const prepared = new WeakSet<AbortSignal>();

/**
 * Lets many calls listen to a signal of the program: a request often has one for all its calls, and
 * Node.js warns of a leak at the eleventh listener.
 */
export function shared(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (signal !== undefined && !prepared.has(signal)) {
    prepared.add(signal);
    setMaxListeners(0, signal);
  }
  return signal;
}

/**
 * Waits. Rejects with the reason of the signal when that is aborted.
 *
 * @param quiet whether the wait does not keep the process running
 */
export function sleep(ms: number, signal?: AbortSignal, quiet = false): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, timerDelay(ms));
    if (quiet) timer.unref();
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
