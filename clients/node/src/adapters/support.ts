import { Client, type ClientOptions } from '../index.js';

/** The client of an adapter: one that the program has, or options for one of the adapter's own. */
export interface ClientSource {
  /** The client of the program, which the adapter does not close. */
  client?: Client;
  /** Options of a client that belongs to the adapter. Without both: those of the environment. */
  connection?: ClientOptions;
}

/** A client, and how the adapter ends its use. */
export interface Connection {
  readonly client: Client;
  close(): Promise<void>;
}

/**
 * The client of an adapter.
 *
 * @throws TypeError if both a client and options for one are given
 */
export function connectionOf(source: ClientSource): Connection {
  const { client, connection } = source;
  if (client !== undefined) {
    if (connection !== undefined) {
      throw new TypeError('connection: not together with client');
    }
    return { client, close: async () => {} };
  }
  const own = new Client(connection ?? {});
  return { client: own, close: async () => own.close() };
}

/** Reports an error that no caller sees. */
export function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), 'LarderWarning');
}

/** A pattern that matches exactly the keys that begin with the prefix. */
export function prefixGlob(prefix: string): string {
  return `${prefix.replace(/[*?[\]\\]/g, '\\$&')}*`;
}
