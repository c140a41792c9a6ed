package dev.larder.client;

import java.util.List;

/**
 * A page of keys.
 *
 * @param keys keys, in no order
 * @param next token of the next page; empty: there are no more
 */
public record KeyPage(List<ListedKey> keys, String next) {}
