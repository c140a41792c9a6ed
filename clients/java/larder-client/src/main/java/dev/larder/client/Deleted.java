package dev.larder.client;

/**
 * Result of a deletion.
 *
 * @param existed whether there was an entry
 * @param deleted whether an entry was removed
 * @param removed the entry that was removed, with {@code returnValue}; else null
 * @param queued whether the deletion is in the server's journal, applied when its store is back
 */
public record Deleted<V>(boolean existed, boolean deleted, Result<V> removed, boolean queued) {}
