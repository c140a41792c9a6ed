import type { ChannelOptions } from '@grpc/grpc-js';
import { VERSION } from '../core/version.js';
import type { Authorization, Certificates } from './credentials.js';
import type { Target } from './targets.js';

/** Options of the connections of a client. */
export interface GrpcOptions {
  target: Target;
  authorization: Authorization | undefined;
  certificates: Certificates | undefined;
  /** Milliseconds between two pings while calls run; undefined: no pings. */
  keepalive: number | undefined;
  /** Milliseconds for the answer to a ping. */
  keepaliveTimeout: number;
  /** Milliseconds without a call after which a connection is replaced; undefined: never. */
  maxIdle: number | undefined;
  /** Milliseconds that a call has in addition until there was a first answer. */
  connectTimeout: number;
  /** Name in the certificate of the server, if it is not that of the target. */
  serverName: string | undefined;
  channelOptions: ChannelOptions;
}

const MAX_RECEIVED_BYTES = 16 * 1024 * 1024;

/** The options of grpc-js for the channels of a client. */
export function channelOptionsOf(options: GrpcOptions): ChannelOptions {
  const { keepalive, keepaliveTimeout, serverName } = options;
  return {
    'grpc.primary_user_agent': `larder-node/${VERSION}`,
    'grpc.enable_channelz': 0,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1800,
    'grpc.dns_min_time_between_resolutions_ms': 3000,
    'grpc.max_receive_message_length': MAX_RECEIVED_BYTES,
    // Clients do not share connections, so that close ends those of one client only.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.service_config_disable_resolution': 1,
    // Retries are made by this library: a method is retried or not by its arguments, which a
    // service config cannot say. Streams that the server has refused are repeated by grpc-js.
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    'grpc.keepalive_permit_without_calls': 0,
    ...(keepalive === undefined
      ? {}
      : {
          'grpc.keepalive_time_ms': keepalive,
          'grpc.keepalive_timeout_ms': keepaliveTimeout,
        }),
    ...(serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName }),
    ...options.channelOptions,
  };
}
