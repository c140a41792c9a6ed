package dev.larder.client.internal;

import dev.larder.client.DecodeException;
import dev.larder.client.Result;
import dev.larder.client.Result.Facts;
import dev.larder.client.Tier;
import dev.larder.client.WriteResult;
import dev.larder.client.WriteResult.NotStored;
import dev.larder.client.WriteResult.Reason;
import dev.larder.client.WriteResult.Stored;
import dev.larder.client.internal.Counters.Name;
import java.time.Duration;
import java.util.List;
import larder.v1.CacheServiceOuterClass;
import larder.v1.CacheServiceOuterClass.EntryInfo;
import larder.v1.CacheServiceOuterClass.Found;
import larder.v1.CacheServiceOuterClass.SetResponse;
import larder.v1.CacheServiceOuterClass.SetResult;
import larder.v1.CacheServiceOuterClass.Value;

/** Results of the server's answers. */
final class Results {
  private Results() {}

  private static Facts facts(EntryInfo entry, boolean degraded) {
    return new Facts(
        entry.getVersion(),
        entry.hasAge() ? Times.toJava(entry.getAge()) : null,
        entry.hasTtlRemaining() ? Times.toJava(entry.getTtlRemaining()) : null,
        List.copyOf(entry.getTagsList()),
        tier(entry.getTier()),
        degraded,
        null,
        null,
        false);
  }

  private static Tier tier(CacheServiceOuterClass.Tier tier) {
    return switch (tier) {
      case TIER_NEAR -> Tier.NEAR;
      case TIER_STORE -> Tier.STORE;
      case TIER_ORIGIN -> Tier.ORIGIN;
      default -> null;
    };
  }

  /** The result of a read that the server has answered, with its counters. */
  static <V> Result<V> read(
      Scope<V> scope,
      CacheServiceOuterClass.Outcome outcome,
      Value value,
      EntryInfo entry,
      boolean degraded) {
    switch (outcome) {
      case OUTCOME_HIT, OUTCOME_STALE -> {
        V decoded;
        try {
          decoded = scope.codec.decode(Values.fromWire(value));
        } catch (RuntimeException error) {
          // A codec of the program throws what it likes.
          scope.count.add(Name.UNDECODABLE);
          scope.count.add(Name.MISSES);
          Throwable shown =
              error instanceof DecodeException
                  ? error
                  : new DecodeException("the codec cannot read the value", error);
          return miss(degraded, shown);
        }
        if (outcome == CacheServiceOuterClass.Outcome.OUTCOME_HIT) {
          scope.count.add(Name.HITS);
          return new Result.Hit<>(decoded, facts(entry, degraded));
        }
        scope.count.add(Name.STALE);
        return new Result.Stale<>(decoded, facts(entry, degraded));
      }
      case OUTCOME_NEGATIVE -> {
        scope.count.add(Name.NEGATIVES);
        return new Result.Negative<>(facts(entry, degraded));
      }
      default -> {
        scope.count.add(Name.MISSES);
        return miss(degraded, null);
      }
    }
  }

  static <V> Result<V> read(Scope<V> scope, Found found, boolean degraded) {
    return read(scope, found.getOutcome(), found.getValue(), found.getEntry(), degraded);
  }

  static <V> Result<V> miss(boolean degraded, Throwable error) {
    return new Result.Miss<>(Facts.none(degraded, error));
  }

  /** A value that a loader computed. */
  static <V> Result<V> loaded(
      V value, WriteResult stored, List<String> tags, boolean degraded, Throwable error) {
    String version = stored instanceof Stored kept ? kept.version() : "";
    Duration ttl = stored instanceof Stored kept ? kept.ttl() : null;
    return new Result.Hit<>(
        value,
        new Facts(
            version, Duration.ZERO, ttl, tags, Tier.LOADER, degraded, error, stored, false));
  }

  /** The same result with other facts. */
  static <V> Result<V> with(Result<V> result, Facts facts) {
    if (result instanceof Result.Hit<V> hit) {
      return new Result.Hit<>(hit.value(), facts);
    }
    if (result instanceof Result.Stale<V> stale) {
      return new Result.Stale<>(stale.value(), facts);
    }
    return result instanceof Result.Negative<V>
        ? new Result.Negative<>(facts)
        : new Result.Miss<>(facts);
  }

  static <V> Result<V> withError(Result<V> result, Throwable error) {
    return with(result, result.facts().withError(error));
  }

  static NotStored notStored(Reason reason, boolean degraded, Throwable error) {
    return new NotStored(reason, degraded, error);
  }

  /** The result of a write that the server has answered. */
  static WriteResult written(SetResponse answer) {
    if (answer.getResult() == SetResult.SET_RESULT_STORED) {
      return new Stored(answer.getVersion(), Times.toJava(answer.getTtl()));
    }
    if (answer.getDegraded()) {
      return notStored(Reason.DEGRADED, true, null);
    }
    Throwable cause =
        answer.getCause().isEmpty() ? null : new IllegalStateException(answer.getCause());
    Reason reason =
        switch (answer.getResult()) {
          case SET_RESULT_CONDITION_NOT_MET -> Reason.CONDITION_NOT_MET;
          case SET_RESULT_LEASE_LOST -> Reason.LEASE_LOST;
          case SET_RESULT_INVALIDATED -> Reason.INVALIDATED;
          case SET_RESULT_SUPERSEDED -> Reason.SUPERSEDED;
          default -> Reason.NOT_STORED;
        };
    return notStored(reason, false, cause);
  }
}
