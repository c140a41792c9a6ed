package dev.larder.jcache;

/**
 * An entry as it is stored: with its key, from which an iterator makes the key again.
 *
 * @param key bytes of the key
 * @param value bytes of the value
 */
record Stored(byte[] key, byte[] value) {}
