import { shared } from './timers.js';

/** What runs until it is done, its caller cancels it, or the client closes. */
export class Running {
  private readonly running = new Set<AbortController>();
  private ended: { reason: unknown } | undefined;

  /** A controller that is aborted by the signal, too. It must be ended. */
  open(signal?: AbortSignal): AbortController {
    const controller = new AbortController();
    if (this.ended !== undefined || signal?.aborted) {
      controller.abort(this.ended === undefined ? signal!.reason : this.ended.reason);
      return controller;
    }
    if (signal !== undefined) {
      const stop = () => controller.abort(signal.reason);
      shared(signal)!.addEventListener('abort', stop);
      controller.signal.addEventListener('abort', () => {
        signal.removeEventListener('abort', stop);
      });
    }
    this.running.add(controller);
    return controller;
  }

  end(controller: AbortController): void {
    this.running.delete(controller);
    controller.abort();
  }

  /** Aborts all, and all that are opened later. */
  close(reason: unknown): void {
    this.ended = { reason };
    for (const controller of this.running) controller.abort(reason);
    this.running.clear();
  }
}
