package dev.larder.jcache;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import javax.cache.management.CacheStatisticsMXBean;

/** Statistics of what this process did with a cache. Times are microseconds. */
final class CacheStatistics implements CacheStatisticsMXBean {
  private static final float PERCENT = 100;

  private final LongAdder hits = new LongAdder();
  private final LongAdder misses = new LongAdder();
  private final LongAdder puts = new LongAdder();
  private final LongAdder removals = new LongAdder();
  private final LongAdder getNanos = new LongAdder();
  private final LongAdder putNanos = new LongAdder();
  private final LongAdder removeNanos = new LongAdder();
  private volatile boolean enabled;

  void enable(boolean enabled) {
    this.enabled = enabled;
  }

  private void count(LongAdder counter, LongAdder nanos, long since) {
    if (enabled) {
      counter.increment();
      nanos.add(System.nanoTime() - since);
    }
  }

  /** A read that began at a time of the steady clock. */
  void read(boolean hit, long since) {
    count(hit ? hits : misses, getNanos, since);
  }

  void put(long since) {
    count(puts, putNanos, since);
  }

  void removal(long since) {
    count(removals, removeNanos, since);
  }

  @Override
  public void clear() {
    for (LongAdder each :
        new LongAdder[] {hits, misses, puts, removals, getNanos, putNanos, removeNanos}) {
      each.reset();
    }
  }

  @Override
  public long getCacheHits() {
    return hits.sum();
  }

  private float share(long part) {
    long gets = getCacheGets();
    return gets == 0 ? 0 : PERCENT * part / gets;
  }

  @Override
  public float getCacheHitPercentage() {
    return share(getCacheHits());
  }

  @Override
  public long getCacheMisses() {
    return misses.sum();
  }

  @Override
  public float getCacheMissPercentage() {
    return share(getCacheMisses());
  }

  @Override
  public long getCacheGets() {
    return getCacheHits() + getCacheMisses();
  }

  @Override
  public long getCachePuts() {
    return puts.sum();
  }

  @Override
  public long getCacheRemovals() {
    return removals.sum();
  }

  /** Zero: the server evicts, and its own statistics count that. */
  @Override
  public long getCacheEvictions() {
    return 0;
  }

  private static float average(LongAdder nanos, long calls) {
    return calls == 0 ? 0 : (float) nanos.sum() / TimeUnit.MICROSECONDS.toNanos(calls);
  }

  @Override
  public float getAverageGetTime() {
    return average(getNanos, getCacheGets());
  }

  @Override
  public float getAveragePutTime() {
    return average(putNanos, getCachePuts());
  }

  @Override
  public float getAverageRemoveTime() {
    return average(removeNanos, getCacheRemovals());
  }
}
