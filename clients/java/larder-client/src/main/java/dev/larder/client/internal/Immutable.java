package dev.larder.client.internal;

import java.lang.reflect.RecordComponent;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Set;
import java.util.UUID;

/** Types whose objects cannot change, so that readers can share them. */
final class Immutable {
  private static final Set<Class<?>> KNOWN =
      Set.of(
          String.class,
          Boolean.class,
          Character.class,
          Byte.class,
          Short.class,
          Integer.class,
          Long.class,
          Float.class,
          Double.class,
          BigInteger.class,
          BigDecimal.class,
          UUID.class);

  private static final ClassValue<Boolean> TYPES =
      new ClassValue<>() {
        @Override
        protected Boolean computeValue(Class<?> type) {
          return check(type, 0);
        }
      };

  private Immutable() {}

  static boolean isImmutable(Object value) {
    return value == null || TYPES.get(value.getClass());
  }

  private static boolean check(Class<?> type, int depth) {
    boolean time = type.getName().startsWith("java.time.") && java.lang.reflect.Modifier.isFinal(
        type.getModifiers());
    if (KNOWN.contains(type) || type.isPrimitive() || type.isEnum() || time) {
      return true;
    }
    if (!type.isRecord() || depth > 16) {
      return false;
    }
    for (RecordComponent component : type.getRecordComponents()) {
      if (!check(component.getType(), depth + 1)) {
        return false;
      }
    }
    return true;
  }
}
