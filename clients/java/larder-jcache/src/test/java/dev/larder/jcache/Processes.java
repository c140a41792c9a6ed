package dev.larder.jcache;

import dev.larder.client.LarderClient;
import java.net.URI;
import java.util.Properties;
import javax.cache.CacheManager;

/** Cache managers that share nothing but the server, as those of several processes. */
final class Processes {
  static final String SECRET = "a secret of the tests";

  private Processes() {}

  /** The manager of a process; {@code pairs} are more properties. */
  static CacheManager manager(LarderClient client, String... pairs) {
    Properties properties = new Properties();
    properties.put("larder.client", client);
    for (int index = 0; index < pairs.length; index += 2) {
      properties.put(pairs[index], pairs[index + 1]);
    }
    return new LarderCachingProvider()
        .getCacheManager(URI.create("larder:test"), null, properties);
  }
}
