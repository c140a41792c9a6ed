package dev.larder.spring;

import dev.larder.client.LoadContext;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Function;
import java.util.function.Supplier;
import org.springframework.cache.interceptor.CacheOperationInvoker.ThrowableWrapper;
import org.springframework.util.ClassUtils;
import reactor.core.scheduler.Schedulers;

/** Futures that are completed outside of the threads of the client, which must not be blocked. */
final class Handovers {
  private static final boolean REACTOR =
      ClassUtils.isPresent("reactor.core.scheduler.Schedulers", Handovers.class.getClassLoader());

  private Handovers() {}

  /** Whether the calling thread is one of Reactor that must not wait. */
  static boolean mustNotBlock() {
    return REACTOR && Reactive.mustNotBlock();
  }

  private static final class Reactive {
    private Reactive() {}

    static boolean mustNotBlock() {
      return Schedulers.isInNonBlockingThread();
    }
  }

  /** The answer of a call, changed and completed on the executor. To cancel it cancels the call. */
  static <A, B> CompletableFuture<B> of(
      CompletableFuture<A> call, Function<? super A, ? extends B> change, Executor executor) {
    CompletableFuture<B> result = new CompletableFuture<>();
    if (call.isDone()) {
      link(call, change, result);
      return result;
    }
    call.whenComplete(
        (value, error) -> {
          try {
            executor.execute(() -> link(call, change, result));
          } catch (Throwable rejected) {
            // Also an Error, as without memory for a thread: the caller must not wait for ever.
            result.completeExceptionally(rejected);
          }
        });
    result.whenComplete(
        (value, error) -> {
          if (result.isCancelled()) {
            call.cancel(true);
          }
        });
    return result;
  }

  /** A call, or the one that follows from its answer, unless that is null. */
  static <A> CompletableFuture<A> either(
      CompletableFuture<A> call, Function<? super A, CompletableFuture<A>> next) {
    AtomicReference<CompletableFuture<A>> current = new AtomicReference<>(call);
    CompletableFuture<A> result =
        call.thenCompose(
            value -> {
              CompletableFuture<A> second = next.apply(value);
              if (second == null) {
                return CompletableFuture.completedFuture(value);
              }
              current.set(second);
              return second;
            });
    result.whenComplete(
        (value, error) -> {
          if (result.isCancelled()) {
            current.get().cancel(true);
          }
        });
    return result;
  }

  private static <A, B> void link(
      CompletableFuture<A> call, Function<? super A, ? extends B> change, CompletableFuture<B> to) {
    call.whenComplete(
        (value, error) -> {
          if (error != null) {
            to.completeExceptionally(unwrapped(error));
            return;
          }
          try {
            to.complete(change.apply(value));
          } catch (Throwable failure) {
            to.completeExceptionally(failure);
          }
        });
  }

  /** Begins a loader on the executor; without a caller that waits it is cancelled. */
  static CompletableFuture<Object> begin(
      Supplier<? extends CompletableFuture<?>> loader,
      LoadContext context,
      Function<Object, Object> change,
      Executor executor) {
    CompletableFuture<Object> loaded = new CompletableFuture<>();
    executor.execute(
        () -> {
          try {
            CompletableFuture<?> begun = loader.get();
            if (begun == null) {
              throw new IllegalStateException("the future of the loader must not be null");
            }
            context.onCancel(() -> begun.cancel(true));
            link(begun, change, loaded);
          } catch (ThrowableWrapper wrapper) {
            loaded.completeExceptionally(wrapper.getOriginal());
          } catch (Throwable error) {
            loaded.completeExceptionally(error);
          }
        });
    return loaded;
  }

  private static Throwable unwrapped(Throwable error) {
    return error instanceof CompletionException && error.getCause() != null
        ? error.getCause()
        : error;
  }
}
