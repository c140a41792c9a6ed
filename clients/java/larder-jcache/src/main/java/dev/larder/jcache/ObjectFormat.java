package dev.larder.jcache;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.datatype.jsr310.JavaTimeModule;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.ObjectStreamClass;
import java.io.Serializable;
import java.lang.reflect.Proxy;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.Date;
import java.util.HexFormat;
import java.util.UUID;
import javax.cache.CacheException;

/**
 * Keys or values of a cache as bytes and back: a byte for the kind, and the content. Types of Java
 * with a plain form have that. All others are JSON of the type that the cache declares, or objects
 * of Java serialization.
 */
final class ObjectFormat {
  private static final ObjectMapper MAPPER =
      JsonMapper.builder()
          .addModule(new JavaTimeModule())
          .disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS)
          .enable(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS)
          .enable(MapperFeature.SORT_PROPERTIES_ALPHABETICALLY)
          .build();

  private static final byte JAVA = 'J';
  private static final byte JSON = 'j';

  private final Class<?> declared;
  private final ClassLoader loader;
  private final boolean java;

  /**
   * A format.
   *
   * @param declared the type that the cache declares
   * @param loader finds classes
   * @param java whether other types are Java serialization; else they are JSON
   */
  ObjectFormat(Class<?> declared, ClassLoader loader, boolean java) {
    this.declared = declared;
    this.loader = loader;
    this.java = java;
  }

  /**
   * The bytes of an object.
   *
   * @throws CacheException if it has none
   */
  byte[] write(Object object) {
    Plain plain = plain(object);
    if (plain != null) {
      return tagged(plain.kind(), plain.content());
    }
    return java ? tagged(JAVA, serialized(object)) : tagged(JSON, json(object));
  }

  private record Plain(byte kind, byte[] content) {}

  private static Plain text(char kind, Object value) {
    return new Plain((byte) kind, value.toString().getBytes(StandardCharsets.UTF_8));
  }

  private static Plain plain(Object object) {
    Class<?> type = object.getClass();
    if (type == String.class) {
      String value = (String) object;
      // Half of a pair of surrogates has no UTF-8.
      return StandardCharsets.UTF_8.newEncoder().canEncode(value)
          ? text('s', value)
          : new Plain((byte) 'S', characters(value));
    } else if (type == Integer.class) {
      return text('i', object);
    } else if (type == Long.class) {
      return text('l', object);
    } else if (type == Boolean.class) {
      return text('z', object);
    } else if (type == Double.class) {
      return text('d', object);
    } else if (type == Float.class) {
      return text('f', object);
    } else if (type == Short.class) {
      return text('h', object);
    } else if (type == Byte.class) {
      return text('y', object);
    } else if (type == Character.class) {
      return text('c', Integer.valueOf((Character) object));
    } else if (type == UUID.class) {
      return text('u', object);
    } else if (type == BigDecimal.class) {
      return text('D', object);
    } else if (type == BigInteger.class) {
      return text('I', object);
    } else if (type == Date.class) {
      return text('t', ((Date) object).getTime());
    } else if (type == byte[].class) {
      return new Plain((byte) 'b', (byte[]) object);
    }
    return null;
  }

  private static byte[] characters(String value) {
    ByteBuffer bytes = ByteBuffer.allocate(value.length() * Character.BYTES);
    bytes.asCharBuffer().put(value);
    return bytes.array();
  }

  private static byte[] tagged(byte kind, byte[] content) {
    return ByteBuffer.allocate(1 + content.length).put(kind).put(content).array();
  }

  private byte[] json(Object object) {
    if (!declared.isInstance(object) || declared == Object.class) {
      throw new CacheException(
          object.getClass().getName()
              + ": the cache must declare this type (setTypes), or the option secret must be set");
    }
    try {
      return MAPPER.writerFor(declared).writeValueAsBytes(object);
    } catch (JsonProcessingException error) {
      throw new CacheException(object.getClass().getName() + ": no JSON: " + error, error);
    }
  }

  private static byte[] serialized(Object object) {
    if (!(object instanceof Serializable)) {
      throw new CacheException(object.getClass().getName() + ": it is not Serializable");
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(object);
    } catch (IOException error) {
      throw new CacheException(
          object.getClass().getName() + ": it cannot be serialized: " + error, error);
    }
    return bytes.toByteArray();
  }

  /**
   * The object of bytes.
   *
   * @throws IllegalArgumentException if they cannot be read
   */
  Object read(byte[] bytes) {
    if (bytes.length == 0) {
      throw new IllegalArgumentException("no bytes");
    }
    byte[] content = Arrays.copyOfRange(bytes, 1, bytes.length);
    try {
      return switch (bytes[0]) {
        case JAVA -> deserialized(content);
        case JSON -> MAPPER.readValue(content, declared);
        case 'b' -> content;
        case 'S' -> ByteBuffer.wrap(content).asCharBuffer().toString();
        default -> read((char) bytes[0], new String(content, StandardCharsets.UTF_8));
      };
    } catch (IOException | ClassNotFoundException | LinkageError error) {
      throw new IllegalArgumentException("it cannot be read: " + error, error);
    }
  }

  private static Object read(char kind, String text) {
    return switch (kind) {
      case 's' -> text;
      case 'i' -> Integer.valueOf(text);
      case 'l' -> Long.valueOf(text);
      case 'z' -> Boolean.valueOf(text);
      case 'd' -> Double.valueOf(text);
      case 'f' -> Float.valueOf(text);
      case 'h' -> Short.valueOf(text);
      case 'y' -> Byte.valueOf(text);
      case 'c' -> (char) Integer.parseInt(text);
      case 'u' -> UUID.fromString(text);
      case 'D' -> new BigDecimal(text);
      case 'I' -> new BigInteger(text);
      case 't' -> new Date(Long.parseLong(text));
      default -> throw new IllegalArgumentException("an object of the kind " + kind);
    };
  }

  private Object deserialized(byte[] content) throws IOException, ClassNotFoundException {
    // Without a secret the bytes can be those of any sender.
    if (!java) {
      throw new IllegalArgumentException("Java serialization, but the option secret is not set");
    }
    try (ObjectInputStream in = new LoadingInput(content, loader)) {
      return in.readObject();
    }
  }

  /**
   * The text that names an entry: equal for keys that are equal. It is readable for types with a
   * plain form.
   */
  static String name(byte[] key) {
    return switch (key[0]) {
      case JAVA -> "J:" + sha256(key);
      case 'b', 'S' -> (char) key[0] + ":" + HexFormat.of().formatHex(key, 1, key.length);
      default -> (char) key[0] + ":" + new String(key, 1, key.length - 1, StandardCharsets.UTF_8);
    };
  }

  private static String sha256(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException error) {
      throw new IllegalStateException("every Java has SHA-256", error);
    }
  }

  /** Finds classes with the loader of the cache manager. */
  private static final class LoadingInput extends ObjectInputStream {
    private final ClassLoader loader;

    LoadingInput(byte[] content, ClassLoader loader) throws IOException {
      super(new ByteArrayInputStream(content));
      this.loader = loader;
    }

    @Override
    protected Class<?> resolveClass(ObjectStreamClass description)
        throws IOException, ClassNotFoundException {
      try {
        return Class.forName(description.getName(), false, loader);
      } catch (ClassNotFoundException primitive) {
        return super.resolveClass(description);
      }
    }

    @Override
    protected Class<?> resolveProxyClass(String[] names)
        throws IOException, ClassNotFoundException {
      Class<?>[] interfaces = new Class<?>[names.length];
      for (int index = 0; index < names.length; index++) {
        interfaces[index] = Class.forName(names[index], false, loader);
      }
      // The class of a proxy has no other maker.
      return Proxy.newProxyInstance(loader, interfaces, (proxy, method, arguments) -> null)
          .getClass();
    }
  }
}
