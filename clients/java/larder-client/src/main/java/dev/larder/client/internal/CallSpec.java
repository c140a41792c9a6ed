package dev.larder.client.internal;

/**
 * How a call of the server is made.
 *
 * @param call the call of the program that it belongs to
 * @param timeout milliseconds for the answer, all attempts together
 * @param namespace name for the observer
 * @param count counters of the namespace
 * @param idempotent whether it can be repeated without another effect
 * @param open whether the caller goes on without the cache at an outage: the breaker may answer
 * @param parting whether it is made while the client closes
 */
record CallSpec(
    Call call,
    double timeout,
    String namespace,
    Counters.Counts count,
    boolean idempotent,
    boolean open,
    boolean parting) {
  CallSpec asParting() {
    return new CallSpec(call, timeout, namespace, count, idempotent, open, true);
  }
}
