package dev.larder.client;

import java.util.List;

/**
 * Result of an invalidation.
 *
 * @param queued whether it is in the server's journal, applied when its store is back
 * @param namespaceInvalidated whether the whole namespace was invalidated
 * @param existed for each key of the targets, in their order: whether there was an entry
 */
public record Invalidated(boolean queued, boolean namespaceInvalidated, List<Boolean> existed) {}
