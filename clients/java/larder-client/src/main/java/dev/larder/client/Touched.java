package dev.larder.client;

import java.time.Duration;

/**
 * Result of a touch.
 *
 * @param found whether there was a fresh entry
 * @param ttl the TTL applied; null if there was no fresh entry
 * @param degraded whether the cache or its store was away, slow or full
 * @param error the error behind that; null if there is none
 */
public record Touched(boolean found, Duration ttl, boolean degraded, Throwable error) {}
