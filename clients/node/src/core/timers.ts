import { timerDelay } from './durations.js';

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
