package dev.larder.spring.boot;

import dev.larder.client.LarderClient;

/** A bean of this type changes the client that is made of the properties {@code larder.*}. */
@FunctionalInterface
public interface LarderClientBuilderCustomizer {
  /** Changes the options, after those of the properties. */
  void customize(LarderClient.Builder builder);
}
