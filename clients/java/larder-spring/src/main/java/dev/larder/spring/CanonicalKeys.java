package dev.larder.spring;

import dev.larder.client.CallKey;
import dev.larder.client.Key;
import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.springframework.cache.interceptor.SimpleKey;
import org.springframework.util.ReflectionUtils;

/** Keys in the canonical form of all clients. */
final class CanonicalKeys implements CacheKeyEncoder {
  static final CanonicalKeys INSTANCE = new CanonicalKeys();

  private static final String ARGUMENT = "key";

  /** Param with the number of arguments, so that a list that is one argument has another key. */
  private static final String COUNT = "arguments";

  /** SimpleKey has no accessor, and its text is the same for different arguments. */
  private static final Field PARAMS = ReflectionUtils.findField(SimpleKey.class, "params");

  static {
    ReflectionUtils.makeAccessible(PARAMS);
  }

  private CanonicalKeys() {}

  @Override
  public Key encode(Object key) {
    if (key instanceof String text && isPlain(text)) {
      return Key.of(text);
    }
    if (key instanceof Long || key instanceof Integer) {
      return Key.of(key.toString());
    }
    if (key instanceof SimpleKey) {
      Object[] arguments = (Object[]) ReflectionUtils.getField(PARAMS, key);
      Key list = canonical(list(arguments));
      return list.params(Map.of(COUNT, String.valueOf(arguments.length)));
    }
    if (key instanceof CharSequence text && text.isEmpty()) {
      return Key.of("\"\"").param(ARGUMENT, "\"\"");
    }
    return canonical(plain(key));
  }

  /** Whether the text is certainly not that of another type. */
  private static boolean isPlain(String text) {
    if (text.isEmpty() || text.equals("null") || text.equals("true") || text.equals("false")) {
      return false;
    }
    return Character.isLetter(text.charAt(0));
  }

  private static Key canonical(Object value) {
    return CallKey.of("{" + ARGUMENT + "}").arg(ARGUMENT, value).key();
  }

  private static Object plain(Object value) {
    boolean primitives =
        value != null
            && value.getClass().isArray()
            && value.getClass().getComponentType().isPrimitive()
            && !(value instanceof byte[]);
    return primitives || value instanceof Object[] ? list(value) : value;
  }

  /** A list, as arrays of other types than bytes have no canonical form. Null is kept. */
  private static List<Object> list(Object array) {
    List<Object> list = new ArrayList<>();
    for (int index = 0; index < Array.getLength(array); index++) {
      list.add(plain(Array.get(array, index)));
    }
    return list;
  }
}
