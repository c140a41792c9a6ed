#!/bin/sh
# Starts a sentinel of the profile `sentinel` in docker-compose.yaml. It rewrites its configuration,
# which is kept in a volume: a restart must not forget which server is the primary.
set -eu
configuration=/data/sentinel.conf
if [ ! -s "$configuration" ]; then
  {
    echo "port 26379"
    echo "dir /data"
    # Containers get other addresses when they start again, and keep their names.
    echo "sentinel resolve-hostnames yes"
    echo "sentinel announce-hostnames yes"
    echo "sentinel announce-ip $SENTINEL_NAME"
    echo "sentinel monitor main redis 6379 2"
    echo "sentinel down-after-milliseconds main 3000"
    echo "sentinel failover-timeout main 30000"
    echo "sentinel parallel-syncs main 1"
    if [ -n "${REDIS_PASSWORD:-}" ]; then
      echo "sentinel auth-pass main $REDIS_PASSWORD"
    fi
  } >"$configuration"
fi
exec redis-server "$configuration" --sentinel
