package dev.larder.client;

/**
 * The key of an entry.
 *
 * @param key the key
 * @param paramsDigest digest of the params and the schema versions; empty if there are none
 */
public record ListedKey(String key, String paramsDigest) {}
