package dev.larder.spring.boot;

import dev.larder.client.LarderClient;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnSingleCandidate;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/**
 * The part {@code larder} of the health of the application. {@code
 * management.health.larder.enabled=false} switches it off. With several clients it is that of the
 * primary one; without such a client there is none.
 */
@AutoConfiguration(after = LarderAutoConfiguration.class)
@ConditionalOnSingleCandidate(LarderClient.class)
public class LarderHealthAutoConfiguration {

  /** Spring Boot 3. */
  @Configuration(proxyBeanMethods = false)
  @ConditionalOnClass({
    org.springframework.boot.actuate.health.HealthIndicator.class,
    org.springframework.boot.actuate.autoconfigure.health.ConditionalOnEnabledHealthIndicator.class
  })
  static class Boot3 {
    @Bean
    @ConditionalOnMissingBean(name = "larderHealthIndicator")
    @org.springframework.boot.actuate.autoconfigure.health.ConditionalOnEnabledHealthIndicator(
        "larder")
    Indicator larderHealthIndicator(LarderClient client) {
      return new Indicator(new LarderHealth(client));
    }

    /** The indicator. */
    static final class Indicator
        extends org.springframework.boot.actuate.health.AbstractHealthIndicator {
      private final LarderHealth larder;

      Indicator(LarderHealth larder) {
        super("the cache does not answer");
        this.larder = larder;
      }

      @Override
      protected void doHealthCheck(
          org.springframework.boot.actuate.health.Health.Builder builder) {
        LarderHealth.State state = larder.check();
        builder.withDetails(state.details());
        if (state.error() != null) {
          builder.down(state.error());
        } else if (state.up()) {
          builder.up();
        } else {
          builder.down();
        }
      }
    }
  }

  /** Spring Boot 4. */
  @Configuration(proxyBeanMethods = false)
  @ConditionalOnClass({
    org.springframework.boot.health.contributor.HealthIndicator.class,
    org.springframework.boot.health.autoconfigure.contributor.ConditionalOnEnabledHealthIndicator
        .class
  })
  static class Boot4 {
    @Bean
    @ConditionalOnMissingBean(name = "larderHealthIndicator")
    @org.springframework.boot.health.autoconfigure.contributor.ConditionalOnEnabledHealthIndicator(
        "larder")
    Indicator larderHealthIndicator(LarderClient client) {
      return new Indicator(new LarderHealth(client));
    }

    /** The indicator. */
    static final class Indicator
        extends org.springframework.boot.health.contributor.AbstractHealthIndicator {
      private final LarderHealth larder;

      Indicator(LarderHealth larder) {
        super("the cache does not answer");
        this.larder = larder;
      }

      @Override
      protected void doHealthCheck(
          org.springframework.boot.health.contributor.Health.Builder builder) {
        LarderHealth.State state = larder.check();
        builder.withDetails(state.details());
        if (state.error() != null) {
          builder.down(state.error());
        } else if (state.up()) {
          builder.up();
        } else {
          builder.down();
        }
      }
    }
  }
}
