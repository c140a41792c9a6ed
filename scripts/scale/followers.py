"""Clients that follow prefixes, and what they cost a SET."""

import select
import socket
import subprocess
import threading
import time

from lib import Redis


class Follower(threading.Thread):
    """Connections that follow prefixes, as the near caches of replicas do, in one thread."""

    def __init__(self, redis, count, prefixes):
        super().__init__(daemon=True)
        words = ["CLIENT", "TRACKING", "ON", "BCAST"]
        for prefix in prefixes:
            words += ["PREFIX", prefix]
        self.sockets = []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", redis.port))
            for command in (["HELLO", "3"], words):
                parts = b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in command)
                connection.sendall(b"*%d\r\n" % len(command) + parts)
            self.sockets.append(connection)
        self.is_stopped = False

    def run(self):
        poll = select.epoll()
        by_number = {one.fileno(): one for one in self.sockets}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        while not self.is_stopped:
            for number, _ in poll.poll(0.1):
                by_number[number].recv(1 << 18)

    def stop(self):
        self.is_stopped = True
        self.join()
        for one in self.sockets:
            one.close()


def cost_of_set(followers, prefixes):
    """CPU of Redis in microseconds per SET of 1 KiB under the first prefix, with clients that
    follow them all, and bytes out per SET."""
    redis = Redis()
    follower = Follower(redis, followers, prefixes)
    follower.start()
    time.sleep(0.5)
    key = f"{prefixes[0]}17}}:k:user-__rand_int__"
    command = ["redis-benchmark", "-p", str(redis.port), "-c", "8", "-P", "16", "-n", "200000"]
    command += ["-r", "100000", "-q", "SET", key, "v" * 1024]
    before = redis.snapshot()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    grown = redis.since(before)
    follower.stop()
    redis.stop()
    sets = grown["calls"]["set"]
    return grown["cpu"] / sets / 1000, grown["out"] / sets
