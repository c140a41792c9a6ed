package dev.larder.spring;

import org.springframework.cache.Cache;
import org.springframework.cache.transaction.TransactionAwareCacheDecorator;
import org.springframework.transaction.support.TransactionSynchronization;
import org.springframework.transaction.support.TransactionSynchronizationManager;

/** Transactions of Spring, whose library is needed for a manager that is transaction-aware only. */
final class Transactions {
  private Transactions() {}

  /** The cache behind one that is aware of transactions. */
  static Cache inner(Cache cache) {
    return ((TransactionAwareCacheDecorator) cache).getTargetCache();
  }

  /** Runs an action after the commit of the transaction of the thread; at once without one. */
  static void afterCommit(Runnable action) {
    if (!TransactionSynchronizationManager.isSynchronizationActive()) {
      action.run();
      return;
    }
    TransactionSynchronizationManager.registerSynchronization(
        new TransactionSynchronization() {
          @Override
          public void afterCommit() {
            action.run();
          }
        });
  }
}
