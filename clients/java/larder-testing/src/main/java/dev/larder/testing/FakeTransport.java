package dev.larder.testing;

import com.google.protobuf.Message;
import dev.larder.client.ErrorFacts;
import dev.larder.client.LarderException.Code;
import dev.larder.client.internal.Cancellation;
import dev.larder.client.internal.Errors;
import dev.larder.client.internal.Transport;
import dev.larder.testing.FakeStore.Place;
import io.grpc.MethodDescriptor;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import larder.v1.CacheServiceOuterClass.AbandonRequest;
import larder.v1.CacheServiceOuterClass.AbandonResponse;
import larder.v1.CacheServiceOuterClass.BatchDeleteRequest;
import larder.v1.CacheServiceOuterClass.BatchDeleteResponse;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.BatchGetRequest;
import larder.v1.CacheServiceOuterClass.BatchGetResponse;
import larder.v1.CacheServiceOuterClass.BatchGetResult;
import larder.v1.CacheServiceOuterClass.BatchSetRequest;
import larder.v1.CacheServiceOuterClass.BatchSetResponse;
import larder.v1.CacheServiceOuterClass.Counters;
import larder.v1.CacheServiceOuterClass.CountKeysRequest;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.DeleteResponse;
import larder.v1.CacheServiceOuterClass.Durability;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.GetResponse;
import larder.v1.CacheServiceOuterClass.IncrementRequest;
import larder.v1.CacheServiceOuterClass.InvalidateNamespaceRequest;
import larder.v1.CacheServiceOuterClass.InvalidateNamespaceResponse;
import larder.v1.CacheServiceOuterClass.InvalidateRequest;
import larder.v1.CacheServiceOuterClass.KeyRef;
import larder.v1.CacheServiceOuterClass.ListKeysRequest;
import larder.v1.CacheServiceOuterClass.NamespaceStats;
import larder.v1.CacheServiceOuterClass.PatchRequest;
import larder.v1.CacheServiceOuterClass.RenewRequest;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.StatsRequest;
import larder.v1.CacheServiceOuterClass.StatsResponse;
import larder.v1.CacheServiceOuterClass.StoreStats;
import larder.v1.CacheServiceOuterClass.TouchRequest;
import larder.v1.CacheServiceOuterClass.WatchRequest;
import larder.v1.CacheServiceOuterClass.WatchResponse;
import larder.v1.CacheServiceOuterClass.WindowStats;

/** Carries the calls of one client to a fake. */
final class FakeTransport implements Transport {
  private final FakeLarder fake;
  private volatile boolean closed;
  private volatile String version;

  FakeTransport(FakeLarder fake) {
    this.fake = fake;
  }

  @Override
  public void schemaVersion(String version) {
    this.version = version;
  }

  @Override
  public boolean renewsToken() {
    return false;
  }

  @Override
  @SuppressWarnings("unchecked")
  public <Q, R> CompletableFuture<R> unary(
      MethodDescriptor<Q, R> method, Q request, Attempt attempt) {
    CompletableFuture<R> result = new CompletableFuture<>();
    Cancellation ending = new Cancellation();
    Runnable forget =
        attempt.cancellation().onCancel(() -> ending.cancel(attempt.cancellation().reason()));
    ScheduledFuture<?> deadline =
        Double.isInfinite(attempt.timeoutMs())
            ? null
            : FakeTimer.SHARED.after(
                Math.max(0, attempt.timeoutMs()),
                () -> ending.cancel(error(Code.DEADLINE_EXCEEDED, "the deadline is over", "")));
    ending.onCancel(() -> result.completeExceptionally(ending.reason()));
    result.whenComplete(
        (value, error) -> {
          forget.run();
          if (deadline != null) {
            deadline.cancel(false);
          }
        });
    entered(method.getBareMethodName(), (Message) request)
        .thenCompose(
            ignored ->
                fake.locked(
                    () -> handle(method.getBareMethodName(), versioned(request), ending)))
        // An answer comes from another thread, as that of a server.
        .whenCompleteAsync(
            (answer, error) -> {
              if (error == null) {
                result.complete((R) answer);
              } else {
                result.completeExceptionally(Errors.unwrap(error));
              }
            },
            FakeThreads.SHARED);
    return result;
  }

  private Message versioned(Object request) {
    String own = version;
    return own == null
        ? (Message) request
        : SchemaVersions.apply((Message) request, own);
  }

  private static RuntimeException error(Code code, String message, String reason) {
    return Errors.of(code, message, ErrorFacts.of(reason));
  }

  private CompletableFuture<Void> entered(String method, Message request) {
    if (closed) {
      return CompletableFuture.failedFuture(Errors.closed());
    }
    FakeLarder.Entering entering = fake.enter(method, request);
    CompletableFuture<Void> entered = new CompletableFuture<>();
    Runnable enter =
        () -> {
          if (entering.failure() == null) {
            entered.complete(null);
          } else {
            entered.completeExceptionally(
                error(
                    entering.failure().code(),
                    "a failure that is switched on",
                    entering.failure().reason()));
          }
        };
    if (entering.delay() > 0) {
      FakeTimer.SHARED.after(entering.delay(), enter);
    } else {
      enter.run();
    }
    return entered;
  }

  private CompletableFuture<? extends Message> handle(
      String method, Message request, Cancellation cancellation) {
    if (request instanceof GetOrFetchRequest fetch) {
      return fake.fetches.getOrFetch(fetch, cancellation);
    }
    if (request instanceof BatchGetOrFetchRequest fetch) {
      return fake.fetches.batch(fetch, cancellation);
    }
    return CompletableFuture.completedFuture(answer(method, request));
  }

  private Message answer(String method, Message request) {
    return switch (method) {
      case "Get" -> fake.entries.get((GetRequest) request);
      case "Set" -> {
        fake.entries.check((SetRequest) request, "");
        yield fake.entries.set((SetRequest) request);
      }
      case "Delete" -> fake.entries.delete((DeleteRequest) request);
      case "Touch" -> fake.entries.touch((TouchRequest) request);
      case "Increment" -> fake.entries.increment((IncrementRequest) request);
      case "Patch" -> fake.entries.patch((PatchRequest) request);
      case "Renew" -> fake.entries.renew((RenewRequest) request);
      case "Abandon" -> abandon((AbandonRequest) request);
      case "BatchGet" -> batchGet((BatchGetRequest) request);
      case "BatchSet" -> batchSet((BatchSetRequest) request);
      case "BatchDelete" -> batchDelete((BatchDeleteRequest) request);
      case "Invalidate" -> fake.invalidations.invalidate((InvalidateRequest) request);
      case "InvalidateNamespace" -> {
        fake.invalidations.whole(((InvalidateNamespaceRequest) request).getNamespace());
        yield InvalidateNamespaceResponse.newBuilder()
            .setDurability(Durability.DURABILITY_APPLIED)
            .build();
      }
      case "ListKeys" -> fake.invalidations.list((ListKeysRequest) request);
      case "CountKeys" -> fake.invalidations.count((CountKeysRequest) request);
      case "Stats" -> stats((StatsRequest) request);
      default -> throw error(Code.UNIMPLEMENTED, "the fake does not have " + method, "");
    };
  }

  private AbandonResponse abandon(AbandonRequest request) {
    Place place = new Place(request.getNamespace(), request.getKey(), request.getParamsMap());
    fake.leases.abandon(
        place, request.getLeaseToken(), request.getReason(), request.getPassOn());
    return AbandonResponse.getDefaultInstance();
  }

  private BatchGetResponse batchGet(BatchGetRequest request) {
    BatchGetResponse.Builder answers =
        BatchGetResponse.newBuilder().setDegraded(fake.isDegraded());
    for (KeyRef key : request.getKeysList()) {
      GetRequest.Builder one =
          GetRequest.newBuilder()
              .setNamespace(key.getNamespace())
              .setKey(key.getKey())
              .putAllParams(key.getParamsMap())
              .setOmitValue(request.getOmitValue());
      if (request.hasMaxStale()) {
        one.setMaxStale(request.getMaxStale());
      }
      if (request.hasTouch()) {
        one.setTouch(request.getTouch());
      }
      GetResponse read = fake.entries.get(one.build());
      BatchGetResult.Builder result = BatchGetResult.newBuilder().setOutcome(read.getOutcome());
      if (read.hasValue()) {
        result.setValue(read.getValue());
      }
      if (read.hasEntry()) {
        result.setEntry(read.getEntry());
      }
      answers.addResults(result);
    }
    return answers.build();
  }

  private BatchSetResponse batchSet(BatchSetRequest request) {
    for (int index = 0; index < request.getItemsCount(); index++) {
      fake.entries.check(request.getItems(index), "items[" + index + "].");
    }
    BatchSetResponse.Builder answers = BatchSetResponse.newBuilder();
    request.getItemsList().forEach(item -> answers.addResults(fake.entries.set(item)));
    return answers.build();
  }

  private BatchDeleteResponse batchDelete(BatchDeleteRequest request) {
    BatchDeleteResponse.Builder answers = BatchDeleteResponse.newBuilder();
    for (KeyRef key : request.getKeysList()) {
      DeleteResponse answer =
          fake.entries.delete(
              DeleteRequest.newBuilder()
                  .setNamespace(key.getNamespace())
                  .setKey(key.getKey())
                  .putAllParams(key.getParamsMap())
                  .setHoldOff(request.getHoldOff())
                  .build());
      answers
          .addExisted(answer.getExisted())
          .addDeleted(answer.getDeleted())
          .addDurabilities(answer.getDurability());
    }
    return answers.build();
  }

  private StatsResponse stats(StatsRequest request) {
    StatsResponse.Builder answer =
        StatsResponse.newBuilder()
            .setDegraded(fake.isDegraded())
            .setStore(
                StoreStats.newBuilder().setKind("memory").setReachable(!fake.isDegraded()));
    fake.counted()
        .forEach(
            (namespace, counts) -> {
              boolean all = request.getNamespacesCount() == 0;
              if (all || request.getNamespacesList().contains(namespace)) {
                answer.addNamespaces(
                    NamespaceStats.newBuilder()
                        .setNamespace(namespace)
                        .setCounted(WindowStats.newBuilder().setTotal(counters(counts))));
              }
            });
    return answer.build();
  }

  private static Counters counters(Map<String, Long> counts) {
    Counters.Builder counters = Counters.newBuilder();
    counts.forEach(
        (name, count) ->
            counters.setField(Counters.getDescriptor().findFieldByName(name), count));
    return counters.build();
  }

  @Override
  @SuppressWarnings("unchecked")
  public <Q, R> Flow stream(
      MethodDescriptor<Q, R> method, Q request, Attempt attempt, Sink<R> sink) {
    if (request instanceof WatchRequest watch) {
      CompletableFuture<Flow> opened =
          entered("Watch", watch)
              .thenApply(
                  ignored ->
                      fake.watches.open(
                          watch, attempt.cancellation(), (Sink<WatchResponse>) sink));
      opened.exceptionally(
          error -> {
            sink.end(Errors.unwrap(error));
            return null;
          });
      return () -> opened.thenAccept(Flow::next);
    }
    unary(method, request, attempt)
        .whenComplete(
            (answer, error) -> {
              if (error == null) {
                sink.message(answer);
              }
              sink.end(error == null ? null : Errors.unwrap(error));
            });
    return () -> {};
  }

  @Override
  public CompletableFuture<Void> connect(double timeoutMs) {
    return entered("connect", null)
        .exceptionally(
            error -> {
              throw error(Code.UNAVAILABLE, "no connection: " + error.getMessage(), "");
            });
  }

  @Override
  public void close() {
    closed = true;
  }
}
