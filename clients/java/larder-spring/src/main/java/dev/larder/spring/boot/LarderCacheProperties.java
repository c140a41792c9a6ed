package dev.larder.spring.boot;

import com.fasterxml.jackson.databind.type.TypeFactory;
import dev.larder.client.NearCacheOptions;
import dev.larder.client.Ttl;
import dev.larder.spring.CacheCodecs;
import dev.larder.spring.LarderCacheConfiguration;
import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;
import org.springframework.boot.convert.DurationStyle;
import org.springframework.util.ClassUtils;
import org.springframework.util.unit.DataSize;

/**
 * Settings of the caches of Spring.
 *
 * @param enabled Whether the caches of Spring are those of Larder.
 * @param dynamic Whether there are other caches than those named below "caches".
 * @param ttl How long values are fresh; "forever" for the longest that the server permits. By
 *     default that of the namespace on the server.
 * @param tags Tags of every value.
 * @param nullValues Whether null is a value. Otherwise to store it is an error.
 * @param transactionAware Whether puts and evictions within a transaction wait for its commit.
 * @param codec Form of the values: json, or serialized for signed Java serialization.
 * @param secret Signs values of the codec "serialized": at least 16 bytes, the same in all
 *     processes.
 * @param waitTimeout How long "sync = true" waits for the computation of another process.
 * @param nearCache Values that are kept in this process.
 * @param caches Settings of caches by name, in place of those above.
 */
@ConfigurationProperties("larder.cache")
public record LarderCacheProperties(
    @DefaultValue("true") boolean enabled,
    @DefaultValue("true") boolean dynamic,
    String ttl,
    @DefaultValue List<String> tags,
    @DefaultValue("true") boolean nullValues,
    @DefaultValue("false") boolean transactionAware,
    @DefaultValue("json") Form codec,
    String secret,
    Duration waitTimeout,
    @DefaultValue Near nearCache,
    @DefaultValue Map<String, Named> caches) {

  /** Without the secret, as it may be printed. */
  @Override
  public String toString() {
    return "LarderCacheProperties[enabled=" + enabled + ", caches=" + caches.keySet() + "]";
  }

  /** Form of the values. */
  public enum Form {
    /** Text, bytes, and JSON for everything else. */
    JSON,
    /** Java serialization, signed. */
    SERIALIZED
  }

  /**
   * Values that are kept in this process, for each type of values of a cache.
   *
   * @param enabled Keep values in this process.
   * @param maxSize Bytes of keys and values.
   * @param maxEntries Entries.
   * @param shareValues Readers share the objects, which they must not change.
   */
  public record Near(
      @DefaultValue("false") boolean enabled,
      @DefaultValue("64MB") DataSize maxSize,
      @DefaultValue("10000") int maxEntries,
      @DefaultValue("false") boolean shareValues) {
    NearCacheOptions options() {
      return enabled ? new NearCacheOptions(maxSize.toBytes(), maxEntries, shareValues) : null;
    }
  }

  /**
   * Settings of one cache.
   *
   * @param namespace Name of its namespace; by default that of the cache.
   * @param ttl How long values are fresh; "forever" for the longest that the server permits.
   * @param tags Tags of every value.
   * @param nullValues Whether null is a value. Otherwise to store it is an error.
   * @param type Type of values that no method declares, such as com.example.User or
   *     java.util.List&lt;com.example.User&gt;.
   * @param codec Form of the values.
   * @param waitTimeout How long "sync = true" waits for the computation of another process.
   * @param nearCache Values that are kept in this process.
   */
  public record Named(
      String namespace,
      String ttl,
      List<String> tags,
      Boolean nullValues,
      String type,
      Form codec,
      Duration waitTimeout,
      Near nearCache) {}

  /** The settings of caches that have none of their own. */
  LarderCacheConfiguration defaults(CacheCodecs json) {
    return LarderCacheConfiguration.DEFAULTS
        .ttl(ttl(ttl, "larder.cache.ttl"))
        .tags(tags.toArray(String[]::new))
        .nullValues(nullValues)
        .codecs(codecs(codec, json))
        .waitTimeout(waitTimeout)
        .nearCache(nearCache.options());
  }

  /** The settings of a cache, with those of {@code defaults} where it has none. */
  LarderCacheConfiguration named(
      String name, LarderCacheConfiguration defaults, CacheCodecs json) {
    Named own = caches.get(name);
    String place = "larder.cache.caches." + name;
    LarderCacheConfiguration settings = defaults.namespace(own.namespace());
    if (own.ttl() != null) {
      settings = settings.ttl(ttl(own.ttl(), place + ".ttl"));
    }
    if (own.tags() != null) {
      settings = settings.tags(own.tags().toArray(String[]::new));
    }
    if (own.nullValues() != null) {
      settings = settings.nullValues(own.nullValues());
    }
    if (own.type() != null) {
      settings = settings.type(type(own.type(), place + ".type"));
    }
    if (own.codec() != null) {
      settings = settings.codecs(codecs(own.codec(), json));
    }
    if (own.waitTimeout() != null) {
      settings = settings.waitTimeout(own.waitTimeout());
    }
    return own.nearCache() == null ? settings : settings.nearCache(own.nearCache().options());
  }

  private CacheCodecs codecs(Form form, CacheCodecs json) {
    if (form == Form.JSON) {
      return json;
    }
    if (secret == null) {
      throw new IllegalArgumentException(
          "larder.cache.secret: the codec \"serialized\" needs it, to sign values");
    }
    return CacheCodecs.serialized(secret.getBytes(StandardCharsets.UTF_8));
  }

  private static Duration ttl(String text, String place) {
    if (text == null) {
      return null;
    }
    if (text.equals("forever")) {
      return Ttl.FOREVER;
    }
    Duration ttl;
    try {
      ttl = DurationStyle.detectAndParse(text);
    } catch (IllegalArgumentException error) {
      throw new IllegalArgumentException(place + ": " + error.getMessage(), error);
    }
    if (ttl.isZero() || ttl.isNegative()) {
      throw new IllegalArgumentException(place + ": must be positive, or \"forever\"");
    }
    return ttl;
  }

  private static Type type(String name, String place) {
    try {
      return TypeFactory.defaultInstance()
          .withClassLoader(ClassUtils.getDefaultClassLoader())
          .constructFromCanonical(name);
    } catch (IllegalArgumentException error) {
      throw new IllegalArgumentException(place + ": " + error.getMessage(), error);
    }
  }
}
