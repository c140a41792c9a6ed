package dev.larder.client;

/**
 * Computes a missing value.
 *
 * @param <V> type of the value
 * @param <X> exception that it throws, which is thrown to all callers as it is
 */
@FunctionalInterface
public interface Loader<V, X extends Exception> {
  /** Returns the value, which may be null. {@code context} decides how it is cached. */
  V load(LoadContext context) throws X;
}
