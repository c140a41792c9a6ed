package org.example;

import dev.larder.spring.CacheEvictTags;
import dev.larder.spring.CacheTags;
import dev.larder.testing.LarderServer;
import java.io.IOException;
import java.util.concurrent.atomic.AtomicInteger;
import org.springframework.boot.SpringBootVersion;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cache.annotation.Cacheable;
import org.springframework.cache.annotation.EnableCaching;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.stereotype.Service;

/** A program of a user, without the optional dependencies of the module. */
@SpringBootApplication
@EnableCaching
public class Consumer {
  /** A value. */
  public record User(String id, int number) {}

  /** Methods whose results are cached. */
  @Service
  public static class Users {
    private final AtomicInteger calls = new AtomicInteger();

    /** Computes a user. */
    @Cacheable(cacheNames = "users", sync = true)
    @CacheTags("'team:' + #team")
    public User find(String id, int team) {
      return new User(id, calls.incrementAndGet());
    }

    /** Removes those of a team. */
    @CacheEvictTags(cacheNames = "users", tags = "'team:' + #team")
    public void evict(int team) {}
  }

  /** Uses a server, from an archive with archives in it. */
  public static void main(String[] args) throws IOException {
    try (LarderServer server = LarderServer.start();
        ConfigurableApplicationContext context =
            new SpringApplicationBuilder(Consumer.class)
                .properties(
                    "larder.target=" + server.target(),
                    "larder.preset=local",
                    "spring.main.banner-mode=off",
                    "logging.level.root=warn")
                .run(args)) {
      Users users = context.getBean(Users.class);
      User first = users.find("a", 7);
      check(first.number() == 1);
      check(users.find("a", 7).equals(first));
      users.evict(7);
      check(users.find("a", 7).number() == 2);
      System.out.println(
          "a program with Spring Boot " + SpringBootVersion.getVersion() + ": 1 passed, 0 skipped");
    }
  }

  private static void check(boolean right) {
    if (!right) {
      throw new AssertionError("it does not work as a package");
    }
  }
}
