import dev.larder.client.LarderClient;
import dev.larder.client.LarderException;
import dev.larder.client.Namespace;
import dev.larder.client.Result;
import dev.larder.client.Tier;
import dev.larder.testing.FakeLarder;
import dev.larder.testing.LarderServer;
import java.io.IOException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.stream.Stream;

/** A program of a user, without the optional dependencies of the client. */
public final class Consumer {
  private Consumer() {}

  /** Uses the real server and the fake. */
  public static void main(String[] args) throws IOException {
    try (LarderServer server = LarderServer.start();
        LarderClient client = LarderClient.builder().target(server.target()).build()) {
      use(client);
    }
    try (LarderClient client = new FakeLarder().client()) {
      use(client);
    }
    checkInterface(LarderClient.class, LarderClient.Builder.class, Namespace.class);
    checkInterface(Result.class, LarderException.class);
    System.out.println("a program with the packages: 2 passed, 0 skipped");
  }

  private static void use(LarderClient client) {
    Namespace<String> names = client.namespace("names", String.class);
    check(names.getOrFetch("7", load -> "Ada").tier().orElseThrow() == Tier.LOADER);
    check(names.get("7").value().equals("Ada"));
  }

  /** No type of gRPC or protocol buffers is part of the interface. */
  private static void checkInterface(Class<?>... types) {
    for (Class<?> type : types) {
      for (Method method : type.getMethods()) {
        Stream.concat(Stream.of(method.getReturnType()), Arrays.stream(method.getParameterTypes()))
            .forEach(
                used ->
                    check(
                        !used.getName().startsWith("io.grpc")
                            && !used.getName().startsWith("com.google")));
      }
    }
  }

  private static void check(boolean right) {
    if (!right) {
      throw new AssertionError("it does not work as a package");
    }
  }
}
