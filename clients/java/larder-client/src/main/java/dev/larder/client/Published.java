package dev.larder.client;

/**
 * Result of an event.
 *
 * @param targets number of targets that the rules of the server have selected
 * @param queued whether any of them is in the server's journal
 */
public record Published(int targets, boolean queued) {}
