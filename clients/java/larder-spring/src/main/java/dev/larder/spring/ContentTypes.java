package dev.larder.spring;

import java.lang.reflect.Method;
import java.lang.reflect.Type;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.springframework.core.ReactiveAdapter;
import org.springframework.core.ReactiveAdapterRegistry;
import org.springframework.core.ResolvableType;
import org.springframework.util.ClassUtils;

/** Types of what methods return, without what Spring takes off before it stores. */
final class ContentTypes {
  private ContentTypes() {}

  /** The type of the values that a method stores; Object if it does not declare one. */
  static Type of(Method method, Class<?> targetClass) {
    ResolvableType returned = ResolvableType.forMethodReturnType(method, targetClass);
    Class<?> raw = method.getReturnType();
    if (raw == Optional.class) {
      return whole(returned.getGeneric(0));
    }
    if (CompletableFuture.class.isAssignableFrom(raw)) {
      return whole(returned.as(CompletableFuture.class).getGeneric(0));
    }
    ReactiveAdapter adapter = ReactiveAdapterRegistry.getSharedInstance().getAdapter(raw);
    if (adapter == null) {
      return whole(returned);
    }
    Type element = adapter.isNoValue() ? Object.class : whole(returned.getGeneric(0));
    return adapter.isMultiValue()
        ? ResolvableType.forClassWithGenerics(List.class, ResolvableType.forType(element)).getType()
        : element;
  }

  /** The type with all its arguments, as far as they are declared. */
  private static Type whole(ResolvableType type) {
    Class<?> raw = type.resolve();
    if (raw == null || raw == void.class || raw == Void.class) {
      return Object.class;
    }
    if (type.isArray() && type.getComponentType().hasGenerics()) {
      return type.getType();
    }
    if (!type.hasGenerics()) {
      return ClassUtils.resolvePrimitiveIfNecessary(raw);
    }
    ResolvableType[] arguments = new ResolvableType[type.getGenerics().length];
    for (int index = 0; index < arguments.length; index++) {
      arguments[index] = ResolvableType.forType(whole(type.getGeneric(index)));
    }
    return ResolvableType.forClassWithGenerics(raw, arguments).getType();
  }
}
