package dev.larder.client;

import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;

/** A type with type arguments, such as {@code new TypeOf<List<User>>() {}}. */
public abstract class TypeOf<T> {
  private final Type type;

  /** Reads the type argument of the subclass. */
  protected TypeOf() {
    if (!(getClass().getGenericSuperclass() instanceof ParameterizedType parameterized)) {
      throw new IllegalArgumentException("type: write new TypeOf<List<User>>() {}");
    }
    type = parameterized.getActualTypeArguments()[0];
  }

  /** The type. */
  public Type type() {
    return type;
  }
}
