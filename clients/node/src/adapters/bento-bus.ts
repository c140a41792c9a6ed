import { randomUUID } from 'node:crypto';
import type { Namespace } from '../index.js';
import type { Connection } from './support.js';

/** A message of bentocache. */
export type BusPayload = any;
type Handler = (payload: BusPayload) => void | Promise<void>;

/** A message as it is stored. */
interface Message {
  busId: string;
  payload: BusPayload;
}

/** How long a message can be read: subscribers read it at once, or not at all. */
const MESSAGE_TTL = '1m';
/** Makes bentocache clear its first layer: messages may be missing. */
const CLEAR = { type: 'clear', keys: [] as string[] };

/**
 * The bus of bentocache by Watch: a message is an entry, and its subscribers watch the namespace
 * for new entries. If messages may be missing, subscribers clear their first layer.
 */
export class LarderBus {
  #id: string = randomUUID();
  readonly #connection: Connection;
  readonly #handle: Namespace<Message>;
  readonly #onError: (error: unknown) => void;
  readonly #subscriptions = new Map<string, AbortController>();
  readonly #reconnected: (() => void)[] = [];
  #sent = 0;

  constructor(connection: Connection, namespace: string, onError: (error: unknown) => void) {
    this.#connection = connection;
    this.#handle = connection.client.namespace<Message>(namespace, { onError: 'open' });
    this.#onError = onError;
  }

  /** Sets the id by which a bus leaves out its own messages. */
  setId(id: string): this {
    this.#id = id;
    return this;
  }

  /** Calls back when messages can be sent again: bentocache repeats those that failed. */
  onReconnect(callback: () => void): void {
    this.#reconnected.push(callback);
  }

  /**
   * Sends a message.
   *
   * @throws Error if it is not stored
   */
  async publish(channel: string, payload: BusPayload): Promise<void> {
    this.#sent += 1;
    const key = `${channel} ${this.#id} ${this.#sent}`;
    const message = { busId: this.#id, payload };
    const result = await this.#handle.set(key, message, { ttl: MESSAGE_TTL });
    if (!result.stored) {
      throw new Error(`the message is not sent: ${result.reason}`, { cause: result.error });
    }
  }

  /** Passes messages of others to the handler. Resolves once none can be missed any more. */
  async subscribe(channel: string, handler: Handler): Promise<void> {
    await this.unsubscribe(channel);
    const ending = new AbortController();
    this.#subscriptions.set(channel, ending);
    await new Promise<void>((ready) => {
      this.#follow(channel, handler, ending.signal, ready)
        .catch((error) => {
          if (!ending.signal.aborted) this.#onError(error);
        })
        .finally(ready);
    });
  }

  async unsubscribe(channel: string): Promise<void> {
    this.#subscriptions.get(channel)?.abort();
    this.#subscriptions.delete(channel);
  }

  /** Ends all subscriptions, and closes the client, if it belongs to the bus. */
  async disconnect(): Promise<void> {
    for (const channel of [...this.#subscriptions.keys()]) await this.unsubscribe(channel);
    await this.#connection.close();
  }

  async #follow(
    channel: string,
    handler: Handler,
    signal: AbortSignal,
    ready: () => void,
  ): Promise<void> {
    const prefix = `${channel} `;
    const own = `${prefix}${this.#id} `;
    for await (const change of this.#handle.watch({ keys: true, signal })) {
      if (change.type === 'keys') {
        const keys = change.keys
          .map(({ key }) => key)
          .filter((key) => key.startsWith(prefix) && !key.startsWith(own));
        await this.#deliver(keys, handler);
      } else if (change.type === 'ready') {
        ready();
        for (const callback of this.#reconnected) callback();
      } else {
        await this.#pass(handler, { ...CLEAR });
      }
    }
  }

  async #deliver(keys: string[], handler: Handler): Promise<void> {
    if (keys.length === 0) return;
    for (const result of (await this.#handle.getMany(keys)).values()) {
      // A message that expired or cannot be read may have named any key.
      const payload = result.found ? result.value.payload : { ...CLEAR };
      if (!result.found || result.value.busId !== this.#id) await this.#pass(handler, payload);
    }
  }

  /** An error of the handler does not end its subscription. */
  async #pass(handler: Handler, payload: BusPayload): Promise<void> {
    try {
      await handler(payload);
    } catch (error) {
      this.#onError(error);
    }
  }
}
