package dev.larder.client.internal;

import java.util.concurrent.Executor;

/** The parts that all handles of a client share. */
final class Core {
  final Caller caller;
  final Counters counters;
  final Limits limits;
  final Futures.Timer timer;
  final Executor workers;
  final System.Logger logger;
  final Flights flights;
  final Background background;
  final Running running = new Running();
  final Feeds feeds = new Feeds();

  Core(
      Caller caller,
      Counters counters,
      Limits limits,
      Futures.Timer timer,
      Executor workers,
      System.Logger logger) {
    this.caller = caller;
    this.counters = counters;
    this.limits = limits;
    this.timer = timer;
    this.workers = workers;
    this.logger = logger;
    this.flights = new Flights(timer);
    this.background = new Background(limits.background());
  }

  void warn(String message) {
    if (logger != null) {
      logger.log(System.Logger.Level.WARNING, message);
    }
  }
}
