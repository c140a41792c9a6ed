"""The client in process models: forks, event loops, greenlets, threads, signals and exits."""
