package dev.larder.client;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;

/**
 * Entries to invalidate. The methods return a new object.
 *
 * @param tags entries with any of these tags
 * @param globs entries whose key matches: {@code *}, {@code ?}, {@code [a-z]}, with any params
 * @param keys these entries
 */
public record Targets(List<String> tags, List<String> globs, List<Key> keys) {
  /** Copies the lists. */
  public Targets {
    tags = List.copyOf(tags);
    globs = List.copyOf(globs);
    keys = List.copyOf(keys);
  }

  /** Entries with any of these tags. */
  public static Targets tags(String... tags) {
    return new Targets(List.of(tags), List.of(), List.of());
  }

  /** Entries whose key matches any of these patterns. */
  public static Targets globs(String... globs) {
    return new Targets(List.of(), List.of(globs), List.of());
  }

  /** The entries of these keys, without params. */
  public static Targets keys(String... keys) {
    return new Targets(
        List.of(), List.of(), List.of(keys).stream().map(Key::of).toList());
  }

  /** These targets and others. */
  public Targets and(Targets others) {
    return new Targets(
        joined(tags, others.tags), joined(globs, others.globs), joined(keys, others.keys));
  }

  private static <T> List<T> joined(Collection<T> some, Collection<T> others) {
    List<T> all = new ArrayList<>(some);
    all.addAll(others);
    return all;
  }
}
