/** Events of `watch`, collected beside the steps of a case. */
import type { Namespace } from '../../src/index.js';
import type { Fields } from './grammar.js';

/** One iterator of changes. */
export class Watching {
  readonly events: Fields[] = [];
  ended = false;
  private readonly stop = new AbortController();

  constructor(namespace: Namespace, options: object) {
    this.read(namespace, options).then(() => {
      this.ended = true;
    });
  }

  private async read(namespace: Namespace, options: object): Promise<void> {
    try {
      for await (const change of namespace.watch({ ...options, signal: this.stop.signal })) {
        const { type, ...rest } = change as any;
        if (type === 'keys') rest.keys = rest.keys.map(({ key }: { key: string }) => key);
        this.events.push({ event: type, ...rest });
      }
    } catch {
      // The end by `close` may be an error.
    }
  }

  /** Ends it, if the close of the client has not. */
  end(): void {
    this.stop.abort();
  }
}
