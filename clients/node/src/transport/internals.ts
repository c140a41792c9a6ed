/** Uses of internals of grpc-js. Each has no effect if they change. */
import type { ChannelInterface } from '@grpc/grpc-js';

interface Subchannel {
  continueConnecting?: boolean;
}

function subchannels(channel: ChannelInterface): Subchannel[] {
  const pool = (channel as any).internalChannel?.subchannelPool?.pool as
    | Record<string, { subchannel?: Subchannel }[]>
    | undefined;
  return Object.values(pool ?? {}).flatMap((all) => all.map(({ subchannel }) => subchannel ?? {}));
}

/**
 * Ends a channel. grpc-js connects once more when the pause after a failed attempt is over, and
 * keeps that connection for ever.
 */
export function closeChannel(channel: ChannelInterface): void {
  const all = subchannels(channel);
  channel.close();
  const stop = () => {
    for (const each of all) each.continueConnecting = false;
  };
  stop();
  // A request to connect may wait for the end of this turn.
  process.nextTick(() => process.nextTick(stop));
}

/**
 * Lets the process end while the call runs. grpc-js has no function for that, so the session is
 * looked for in the layers of the call; without it the process runs until `close`.
 */
export function release(call: unknown): void {
  let layer = call as Record<string, any> | null | undefined;
  for (let depth = 0; depth < 8 && layer != null; depth += 1) {
    const session = layer.transport?.session;
    if (typeof session?.unref === 'function') {
      session.unref();
      return;
    }
    layer = layer.child ?? layer.underlyingCalls?.[0]?.call;
  }
}
