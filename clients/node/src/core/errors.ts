import { type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { ErrorInfo, RetryInfo, Status } from '../gen/error_details.js';
import { fromWire } from './durations.js';

/** Name of a gRPC status code. */
export type Code = Exclude<keyof typeof status, 'OK'>;

/** Facts of a {@link LarderError}. */
export interface ErrorFacts {
  /** Stable reason, such as `VALUE_TOO_LARGE`; empty if the server gave none. */
  reason?: string;
  /** Milliseconds after which a retry may succeed. */
  retryAfter?: number;
  /** Milliseconds before a retry, by the server's choice; negative or NaN: no retry. */
  pushback?: number;
  /** Metadata of the reason, such as the name of a limit. */
  metadata?: Readonly<Record<string, string>>;
  cause?: unknown;
}

/** An error of a call. Programs match `code` and `reason`, not the message. */
export class LarderError extends Error {
  /** gRPC status code, such as `UNAVAILABLE`. */
  readonly code: Code;
  /** Stable reason, such as `VALUE_TOO_LARGE`; empty if there is none. */
  readonly reason: string;
  /** Milliseconds after which a retry may succeed; undefined if there is no such time. */
  readonly retryAfter: number | undefined;
  /** Milliseconds before a retry, by the server's choice; negative or NaN: no retry. */
  readonly pushback: number | undefined;
  /** Metadata of the reason. */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(code: Code, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.code = code;
    this.reason = facts.reason ?? '';
    this.retryAfter = facts.retryAfter;
    this.pushback = facts.pushback;
    this.metadata = facts.metadata ?? {};
  }
}

/** An argument that the server does not accept. */
export class InvalidArgument extends LarderError {}
/** A namespace that the operator has not named, with strict namespaces. */
export class NotFound extends LarderError {}
/** The call does not apply to the entry, such as an increment of a value that is no integer. */
export class FailedPrecondition extends LarderError {}
/** No or wrong credentials. */
export class Unauthenticated extends LarderError {}
/** The credentials do not permit the call. */
export class PermissionDenied extends LarderError {}
/** A limit: the size of a value, a quota, or an overloaded server. */
export class ResourceExhausted extends LarderError {}
/** The server or its store cannot be reached. */
export class Unavailable extends LarderError {}
/** The answer took longer than the deadline of the call. */
export class DeadlineExceeded extends LarderError {}
/** Other writes came first again and again. */
export class Aborted extends LarderError {}
/** The server does not have the call. */
export class Unimplemented extends LarderError {}

/** A value that cannot be sent: `path` names the place in it. */
export class EncodeError extends TypeError {
  constructor(message: string, readonly path: string) {
    super(path === '' ? message : `${path}: ${message}`);
    this.name = 'EncodeError';
  }
}

/** A value from the cache that the codec cannot read. */
export class DecodeError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'DecodeError';
  }
}

type ErrorClass = new (code: Code, message: string, facts?: ErrorFacts) => LarderError;
const CLASSES: Partial<Record<Code, ErrorClass>> = {
  INVALID_ARGUMENT: InvalidArgument,
  OUT_OF_RANGE: InvalidArgument,
  NOT_FOUND: NotFound,
  FAILED_PRECONDITION: FailedPrecondition,
  UNAUTHENTICATED: Unauthenticated,
  PERMISSION_DENIED: PermissionDenied,
  RESOURCE_EXHAUSTED: ResourceExhausted,
  UNAVAILABLE: Unavailable,
  DEADLINE_EXCEEDED: DeadlineExceeded,
  ABORTED: Aborted,
  UNIMPLEMENTED: Unimplemented,
};

/** An error of the class that belongs to the code. */
export function larderError(code: Code, message: string, facts?: ErrorFacts): LarderError {
  return new (CLASSES[code] ?? LarderError)(code, message, facts);
}

/** The error of the server for an argument that it does not accept. */
export function invalid(field: string, why: string): LarderError {
  return larderError('INVALID_ARGUMENT', `${field} ${why}`, {
    reason: 'INVALID_ARGUMENT',
    metadata: { field },
  });
}

/** The error of a call of grpc-js. */
export function fromServiceError(error: ServiceError): LarderError {
  const code = (status[error.code] ?? 'UNKNOWN') as Code;
  const facts: ErrorFacts = { ...readDetails(error.metadata), cause: error };
  // grpc-js refuses a message by its size with the code of a server that is full.
  const refused = code === 'RESOURCE_EXHAUSTED' && LARGE.test(error.details);
  if (refused) facts.reason ??= 'MESSAGE_TOO_LARGE';
  return larderError(code, error.details || error.message, facts);
}

const LARGE = /^(?:Received|Attempted to send) message .*larger than/;

function readDetails(trailers: Metadata | undefined): ErrorFacts {
  const facts: ErrorFacts = {};
  const [pushback] = trailers?.get('grpc-retry-pushback-ms') ?? [];
  if (pushback !== undefined) facts.pushback = Number(pushback);
  const [bytes] = trailers?.get('grpc-status-details-bin') ?? [];
  if (!Buffer.isBuffer(bytes)) return facts;
  try {
    for (const detail of Status.decode(bytes).details) {
      if (detail.typeUrl.endsWith('/google.rpc.ErrorInfo')) {
        const info = ErrorInfo.decode(detail.value);
        facts.reason = info.reason;
        facts.metadata = info.metadata;
      } else if (detail.typeUrl.endsWith('/google.rpc.RetryInfo')) {
        facts.retryAfter = fromWire(RetryInfo.decode(detail.value).retryDelay);
      }
    }
  } catch (error) {
    // Details that a proxy has damaged are left out: the status itself is still right.
    if (!(error instanceof Error)) throw error;
  }
  return facts;
}

const OUTAGES: ReadonlySet<Code> = new Set<Code>([
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
  'INTERNAL',
  'UNKNOWN',
  'CANCELLED',
]);

/** Reasons that are mistakes, whatever their code. */
const MISTAKES: ReadonlySet<string> = new Set([
  'VALUE_TOO_LARGE',
  'MESSAGE_TOO_LARGE',
  'CLIENT_CLOSED',
]);

/** Whether an error says that the cache is away, slow or full, rather than that a call is wrong. */
export function isOutage(error: unknown): error is LarderError {
  return error instanceof LarderError && OUTAGES.has(error.code) && !MISTAKES.has(error.reason);
}
