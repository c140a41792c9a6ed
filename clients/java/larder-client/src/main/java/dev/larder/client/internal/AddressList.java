package dev.larder.client.internal;

import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.Status;
import io.grpc.StatusOr;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;

/** Resolves several addresses, each by DNS, to one list. */
final class AddressList extends NameResolverProvider {
  private static final String SCHEME = "larder-addresses";

  static {
    NameResolverRegistry.getDefaultRegistry().register(new AddressList());
  }

  private AddressList() {}

  static String uri(List<String> addresses) {
    return SCHEME + ":///" + Target.escape(String.join(",", addresses));
  }

  @Override
  protected boolean isAvailable() {
    return true;
  }

  @Override
  protected int priority() {
    return 5;
  }

  @Override
  public String getDefaultScheme() {
    return SCHEME;
  }

  @Override
  public Collection<Class<? extends SocketAddress>> getProducedSocketAddressTypes() {
    return Set.of(InetSocketAddress.class);
  }

  @Override
  public NameResolver newNameResolver(URI target, NameResolver.Args args) {
    if (!SCHEME.equals(target.getScheme())) {
      return null;
    }
    List<String> addresses = List.of(target.getPath().substring(1).split(","));
    List<NameResolver> each = new ArrayList<>();
    for (String address : addresses) {
      each.add(
          NameResolverRegistry.getDefaultRegistry()
              .asFactory()
              .newNameResolver(URI.create(Target.dns(address)), args));
    }
    return new All(addresses.get(0), each);
  }

  /** The resolvers of all addresses. */
  private static final class All extends NameResolver {
    private final ReentrantLock lock = new ReentrantLock();
    private final String authority;
    private final List<NameResolver> each;
    private final List<StatusOr<List<EquivalentAddressGroup>>> found = new ArrayList<>();

    All(String authority, List<NameResolver> each) {
      this.authority = authority;
      this.each = each;
      each.forEach(ignored -> found.add(null));
    }

    @Override
    public String getServiceAuthority() {
      return authority;
    }

    @Override
    public void start(Listener2 listener) {
      for (int index = 0; index < each.size(); index++) {
        int position = index;
        each.get(index)
            .start(
                new Listener2() {
                  @Override
                  public void onResult(ResolutionResult result) {
                    take(position, result.getAddressesOrError(), listener);
                  }

                  @Override
                  public Status onResult2(ResolutionResult result) {
                    take(position, result.getAddressesOrError(), listener);
                    return Status.OK;
                  }

                  @Override
                  public void onError(Status error) {
                    take(position, StatusOr.fromStatus(error), listener);
                  }
                });
      }
    }

    private void take(
        int index, StatusOr<List<EquivalentAddressGroup>> answer, Listener2 listener) {
      List<EquivalentAddressGroup> all = new ArrayList<>();
      Status failure = null;
      lock.lock();
      try {
        // An address that was resolved before is kept while DNS fails.
        if (answer.hasValue() || found.get(index) == null) {
          found.set(index, answer);
        }
        for (StatusOr<List<EquivalentAddressGroup>> one : found) {
          if (one == null) {
            return;
          }
          if (one.hasValue()) {
            all.addAll(one.getValue());
          } else {
            failure = one.getStatus();
          }
        }
      } finally {
        lock.unlock();
      }
      if (all.isEmpty()) {
        listener.onError(failure);
      } else {
        listener.onResult(
            ResolutionResult.newBuilder()
                .setAddressesOrError(StatusOr.fromValue(all))
                .build());
      }
    }

    @Override
    public void refresh() {
      each.forEach(NameResolver::refresh);
    }

    @Override
    public void shutdown() {
      each.forEach(NameResolver::shutdown);
    }
  }
}
