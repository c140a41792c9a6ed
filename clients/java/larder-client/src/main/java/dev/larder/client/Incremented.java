package dev.larder.client;

import java.time.Duration;

/**
 * Result of an increment.
 *
 * @param value the sum; null if there is no counter and {@code ifPresent} is set
 * @param version version of the counter
 * @param ttlRemaining time until the counter expires; null if there is none
 */
public record Incremented(Long value, String version, Duration ttlRemaining) {}
