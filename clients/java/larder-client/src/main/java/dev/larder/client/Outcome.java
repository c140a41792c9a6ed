package dev.larder.client;

/** Result of a read. */
public enum Outcome {
  /** A fresh value. */
  HIT,
  /** A value past its TTL, within the staleness window. */
  STALE,
  /** The cached absence of a value. */
  NEGATIVE,
  /** No value. */
  MISS
}
