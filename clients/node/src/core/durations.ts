import type { Duration as WireDuration } from '../gen/google/protobuf/duration.js';

/**
 * A length of time: a number of milliseconds, or text such as `250ms`, `30s`, `5m`, `1h`, `7d`.
 */
export type Duration = number | string;

/** The longest TTL that the server permits. */
export const FOREVER = Number.POSITIVE_INFINITY;

/** 100 years, which is more than any server permits: the server shortens it to its limit. */
const FOREVER_MS = 100 * 365 * 24 * 3_600_000;
const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const TEXT = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** The longest delay of a timer: a longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Milliseconds of a duration. `FOREVER` is kept as it is.
 *
 * @param name the name of the argument, for the error
 * @throws TypeError if it is not a duration
 */
export function milliseconds(value: Duration, name: string): number {
  if (typeof value === 'number') {
    if (Number.isNaN(value)) throw new TypeError(`${name}: not a number`);
    return value;
  }
  const match = typeof value === 'string' ? TEXT.exec(value) : null;
  if (match === null) {
    throw new TypeError(
      `${name}: expected milliseconds or text such as '250ms', '30s', '5m', '1h' or '7d', ` +
        `got ${typeof value === 'string' ? JSON.stringify(value) : typeof value}`,
    );
  }
  return Number(match[1]) * UNITS[match[2]!]!;
}

/** As {@link milliseconds}, for a duration that must not be negative or endless. */
export function span(value: Duration, name: string): number {
  const ms = milliseconds(value, name);
  if (ms < 0 || !Number.isFinite(ms)) {
    throw new RangeError(`${name}: must be finite and not negative, got ${String(value)}`);
  }
  return ms;
}

/** As {@link span}, for a duration that must be positive. */
export function positive(value: Duration, name: string): number {
  const ms = span(value, name);
  if (ms === 0) throw new RangeError(`${name}: must be positive`);
  return ms;
}

/** The message of a duration, cut to milliseconds; a positive one is at least a millisecond. */
export function toWire(ms: number): WireDuration {
  const whole = ms > FOREVER_MS ? FOREVER_MS : ms > 0 && ms < 1 ? 1 : Math.trunc(ms);
  const seconds = Math.floor(whole / 1000);
  return { seconds: BigInt(seconds), nanos: (whole - seconds * 1000) * 1_000_000 };
}

/** The message of an optional span. */
export function spanToWire(value: Duration | undefined, name: string): WireDuration | undefined {
  return value === undefined ? undefined : toWire(span(value, name));
}

/** Milliseconds of a message; undefined if it is unset. */
export function fromWire(value: WireDuration | undefined): number | undefined {
  return value === undefined ? undefined : Number(value.seconds) * 1000 + value.nanos / 1_000_000;
}

/** A delay that a timer can have. */
export function timerDelay(ms: number): number {
  return ms > LONGEST_TIMER_MS ? LONGEST_TIMER_MS : ms;
}
