package dev.larder.spring;

import java.lang.reflect.Array;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.aop.framework.AopProxyUtils;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.context.expression.AnnotatedElementKey;
import org.springframework.context.expression.BeanFactoryResolver;
import org.springframework.context.expression.CachedExpressionEvaluator;
import org.springframework.context.expression.MethodBasedEvaluationContext;
import org.springframework.expression.EvaluationContext;
import org.springframework.expression.EvaluationException;
import org.springframework.expression.ParseException;

/** SpEL in the annotations for tags, with the variables that Spring's own annotations have. */
final class Expressions extends CachedExpressionEvaluator {
  private final Map<ExpressionKey, org.springframework.expression.Expression> parsed =
      new ConcurrentHashMap<>();
  private final BeanFactory beans;

  /** Expressions that can name beans, unless the factory is null. */
  Expressions(BeanFactory beans) {
    this.beans = beans;
  }

  /** A call of a method: {@code #root} of its expressions. */
  static final class Call {
    private final Method method;
    private final Object target;
    private final Class<?> targetClass;
    private final Object[] args;

    /** A call of the method of a class. */
    Call(Method method, Object target, Object[] args) {
      this.method = method;
      this.target = target;
      this.targetClass = AopProxyUtils.ultimateTargetClass(target);
      this.args = args;
    }

    public Method getMethod() {
      return method;
    }

    public String getMethodName() {
      return method.getName();
    }

    public Object getTarget() {
      return target;
    }

    public Class<?> getTargetClass() {
      return targetClass;
    }

    public Object[] getArgs() {
      return args;
    }
  }

  /** The tags that expressions yield for a result. */
  List<String> tags(List<String> expressions, Call call, Object result) {
    EvaluationContext context = context(call, result);
    Set<String> tags = new LinkedHashSet<>();
    for (String expression : expressions) {
      add(value(expression, call, context), expression, call, tags);
    }
    return List.copyOf(tags);
  }

  /** Whether a condition holds; an empty one does. */
  boolean holds(String condition, Call call, Object result) {
    if (condition.isEmpty()) {
      return true;
    }
    return Boolean.TRUE.equals(value(condition, call, context(call, result)));
  }

  private EvaluationContext context(Call call, Object result) {
    MethodBasedEvaluationContext context =
        new MethodBasedEvaluationContext(
            call, call.method, call.args, getParameterNameDiscoverer());
    context.setVariable("result", result);
    if (beans != null) {
      context.setBeanResolver(new BeanFactoryResolver(beans));
    }
    return context;
  }

  private Object value(String expression, Call call, EvaluationContext context) {
    AnnotatedElementKey element = new AnnotatedElementKey(call.method, call.targetClass);
    try {
      return getExpression(parsed, element, expression).getValue(context);
    } catch (ParseException | EvaluationException error) {
      throw new IllegalStateException(place(expression, call) + ": " + error.getMessage(), error);
    }
  }

  private static String place(String expression, Call call) {
    String name = call.method.getDeclaringClass().getName() + "." + call.method.getName();
    return "the expression \"" + expression + "\" of " + name;
  }

  private static void add(Object value, String expression, Call call, Set<String> tags) {
    if (value == null) {
      return;
    }
    if (value instanceof Iterable<?> several) {
      several.forEach(each -> add(each, expression, call, tags));
      return;
    }
    if (value.getClass().isArray()) {
      List<Object> several = new ArrayList<>();
      for (int index = 0; index < Array.getLength(value); index++) {
        several.add(Array.get(value, index));
      }
      add(several, expression, call, tags);
      return;
    }
    boolean text =
        value instanceof CharSequence
            || value instanceof Number
            || value instanceof Enum<?>
            || value instanceof UUID;
    if (!text || value.toString().isBlank()) {
      throw new IllegalStateException(
          place(expression, call)
              + (text ? " yields an empty tag" : " yields no tag, but a " + value.getClass()));
    }
    tags.add(value.toString());
  }
}
