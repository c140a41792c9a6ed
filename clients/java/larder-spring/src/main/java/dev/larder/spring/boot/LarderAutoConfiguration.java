package dev.larder.spring.boot;

import dev.larder.client.LarderClient;
import java.time.Duration;
import java.util.function.Function;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;

/** The client, of the properties {@code larder.*}. */
@AutoConfiguration
@EnableConfigurationProperties(LarderProperties.class)
public class LarderAutoConfiguration {
  @Bean(destroyMethod = "close")
  @ConditionalOnMissingBean
  LarderClient larderClient(
      LarderProperties properties, ObjectProvider<LarderClientBuilderCustomizer> customizers) {
    LarderClient.Builder builder =
        LarderClient.builder()
            .preset(properties.preset())
            .namespacePrefix(properties.namespacePrefix())
            .onError(properties.onError())
            .allowPlaintextToken(properties.allowPlaintextToken())
            .background(properties.background())
            .telemetry(properties.telemetry())
            .tls(properties.tls().enabled());
    set(builder::target, properties.target());
    set(builder::token, properties.token());
    set(builder::schemaVersion, properties.schemaVersion());
    set(builder::caFile, properties.tls().caFile());
    set(builder::serverName, properties.tls().serverName());
    if (properties.tls().certFile() != null) {
      builder.certificate(properties.tls().certFile(), properties.tls().keyFile());
    }
    limits(builder, properties);
    customizers.orderedStream().forEach(customizer -> customizer.customize(builder));
    return builder.build();
  }

  private static void limits(LarderClient.Builder builder, LarderProperties properties) {
    set(builder::callTimeout, properties.timeout().call());
    set(builder::connectTimeout, properties.timeout().connect());
    set(builder::waitTimeout, properties.timeout().waiting());
    set(builder::waitMargin, properties.timeout().waitMargin());
    LarderProperties.Connection connection = properties.connection();
    Function<Duration, LarderClient.Builder> keepalive = builder::keepalive;
    set(keepalive, connection.keepalive());
    set(builder::keepaliveTimeout, connection.keepaliveTimeout());
    set(builder::maxIdle, connection.maxIdle());
  }

  private static <T> void set(Function<T, LarderClient.Builder> option, T value) {
    if (value != null) {
      option.apply(value);
    }
  }
}
