package dev.larder.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.Descriptors.ServiceDescriptor;
import com.google.protobuf.Message;
import dev.larder.client.internal.Rpcs;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.MethodDescriptor.PrototypeMarshaller;
import java.lang.reflect.Field;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import larder.v1.CacheServiceOuterClass;
import org.junit.jupiter.api.Test;

/** The descriptors of the calls, which are written by hand, are those of the protos. */
class RpcsTest {
  /** Calls that the client does not make: it renews leases by Renew. */
  private static final Set<String> UNUSED = Set.of("FetchStream");

  private static Message prototype(io.grpc.MethodDescriptor.Marshaller<?> marshaller) {
    return (Message) ((PrototypeMarshaller<?>) marshaller).getMessagePrototype();
  }

  @Test
  void theyAreThoseOfTheProtos() throws IllegalAccessException {
    ServiceDescriptor service =
        CacheServiceOuterClass.getDescriptor().findServiceByName("CacheService");
    assertEquals(service.getFullName(), Rpcs.SERVICE);
    Map<String, io.grpc.MethodDescriptor<?, ?>> found = new TreeMap<>();
    for (Field field : Rpcs.class.getFields()) {
      if (field.get(null) instanceof io.grpc.MethodDescriptor<?, ?> method) {
        found.put(method.getBareMethodName(), method);
      }
    }
    Set<String> expected = new TreeSet<>();
    for (MethodDescriptor method : service.getMethods()) {
      if (UNUSED.contains(method.getName())) {
        continue;
      }
      expected.add(method.getName());
      io.grpc.MethodDescriptor<?, ?> own = found.get(method.getName());
      assertEquals(Rpcs.SERVICE, own.getServiceName());
      assertEquals(
          method.isServerStreaming() ? MethodType.SERVER_STREAMING : MethodType.UNARY,
          own.getType());
      assertEquals(
          method.getInputType(),
          prototype(own.getRequestMarshaller()).getDescriptorForType());
      assertEquals(
          method.getOutputType(),
          prototype(own.getResponseMarshaller()).getDescriptorForType());
    }
    assertEquals(expected, found.keySet());
  }
}
