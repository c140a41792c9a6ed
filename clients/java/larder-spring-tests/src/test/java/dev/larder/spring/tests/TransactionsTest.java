package dev.larder.spring.tests;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.larder.client.Codecs;
import dev.larder.client.LarderClient;
import dev.larder.spring.CacheEvictTags;
import dev.larder.spring.CacheTags;
import dev.larder.spring.LarderCacheManager;
import java.util.List;
import javax.sql.DataSource;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.cache.Cache;
import org.springframework.cache.CacheManager;
import org.springframework.cache.annotation.CacheEvict;
import org.springframework.cache.annotation.CachePut;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Primary;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.jdbc.datasource.DriverManagerDataSource;
import org.springframework.transaction.annotation.EnableTransactionManagement;
import org.springframework.transaction.annotation.Transactional;
import org.springframework.transaction.support.TransactionTemplate;

/** A manager that is transaction-aware, with the transactions of a database. */
class TransactionsTest {
  private AnnotationConfigApplicationContext context;
  private TransactionTemplate transactions;
  private Names names;
  private Cache cache;

  @Configuration
  @EnableTransactionManagement(proxyTargetClass = true)
  static class Database {
    @Bean
    DataSource dataSource() {
      return new DriverManagerDataSource("jdbc:h2:mem:" + TestServer.fresh("d"));
    }

    @Bean
    DataSourceTransactionManager transactionManager(DataSource source) {
      return new DataSourceTransactionManager(source);
    }

    @Bean
    JdbcTemplate template(DataSource source) {
      return new JdbcTemplate(source);
    }

    @Bean
    @Primary
    CacheManager awareManager(LarderClient client) {
      return LarderCacheManager.builder(client).transactionAware(true).build();
    }
  }

  static class Names {
    @CachePut("names")
    @CacheTags("'tag:' + #result")
    public String put(String key) {
      return "value of " + key;
    }

    @CacheEvict("names")
    public void evict(String key) {}

    @CacheEvict(cacheNames = "names", allEntries = true)
    public void evictAll() {}

    @CacheEvictTags(cacheNames = "names", tags = "#tag")
    public void evictTag(String tag) {}

    @Transactional
    @CacheEvictTags(cacheNames = "names", tags = "#tag")
    public void evictTagInItsTransaction(String tag, Runnable during) {
      during.run();
    }
  }

  @BeforeEach
  void start() {
    context = Contexts.start(Contexts.Subclasses.class, Names.class, Database.class);
    transactions =
        new TransactionTemplate(context.getBean(DataSourceTransactionManager.class));
    names = context.getBean(Names.class);
    cache = context.getBean("awareManager", CacheManager.class).getCache("names");
  }

  @AfterEach
  void stop() {
    context.close();
  }

  @Test
  void withoutATransactionAllIsDoneAtOnce() {
    names.put("k");
    assertEquals("value of k", cache.get("k").get());
    assertEquals(
        List.of("tag:value of k"),
        Contexts.raw(context, "names", Codecs.auto(Object.class)).get("k").tags());
    names.evictTag("tag:value of k");
    assertNull(cache.get("k"));
  }

  @Test
  void putsAndEvictionsWaitForTheCommit() {
    cache.put("old", "v");
    transactions.executeWithoutResult(
        status -> {
          names.put("k");
          names.evict("old");
          assertNull(cache.get("k"));
          assertNotNull(cache.get("old"));
        });
    assertEquals("value of k", cache.get("k").get());
    assertEquals(
        List.of("tag:value of k"),
        Contexts.raw(context, "names", Codecs.auto(Object.class)).get("k").tags());
    assertNull(cache.get("old"));
    transactions.executeWithoutResult(
        status -> {
          names.evictTag("tag:value of k");
          assertNotNull(cache.get("k"));
        });
    assertNull(cache.get("k"));
    cache.put("k", "v");
    transactions.executeWithoutResult(
        status -> {
          names.evictAll();
          assertNotNull(cache.get("k"));
        });
    assertNull(cache.get("k"));
  }

  @Test
  void aRollbackDoesNothing() {
    names.put("k");
    assertThrows(
        IllegalStateException.class,
        () ->
            transactions.executeWithoutResult(
                status -> {
                  names.put("other");
                  names.evict("k");
                  names.evictTag("tag:value of k");
                  throw new IllegalStateException("rolled back");
                }));
    assertNotNull(cache.get("k"));
    assertNull(cache.get("other"));
  }

  @Test
  void theEvictionOfAMethodIsAfterItsOwnTransaction() {
    names.put("k");
    names.evictTagInItsTransaction("tag:value of k", () -> assertNotNull(cache.get("k")));
    assertNull(cache.get("k"));
  }
}
