package dev.larder.client;

import java.time.Duration;

/**
 * Result of a patch.
 *
 * @param applied whether the changed value is stored
 * @param missing whether there was no fresh value
 * @param version version of the changed value; empty unless applied
 * @param ttl time for which the changed value is fresh; null unless applied
 */
public record Patched(boolean applied, boolean missing, String version, Duration ttl) {}
