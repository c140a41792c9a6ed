package dev.larder.client.internal;

/**
 * Limits of a client, in milliseconds.
 *
 * @param call time for a call
 * @param connect time to connect
 * @param waiting time for the computation of another process
 * @param waitMargin what GetOrFetch has in addition to that
 * @param background computations in the background at once
 */
public record Limits(
    double call, double connect, double waiting, double waitMargin, int background) {}
