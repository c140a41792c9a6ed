#!/usr/bin/env bash
# Checks with grpc_health_probe, as Kubernetes users run it.
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

setup() { health_probe >/dev/null; }

check() {
    local probe service
    probe=$(health_probe)
    for service in "" larder.v1.CacheService liveness store; do
        "$probe" -addr="$LARDER_ADDRESS" -service="$service" -connect-timeout=5s -rpc-timeout=5s
    done
    if "$probe" -addr="$LARDER_ADDRESS" -service=no.such.Service; then
        echo "^ an unknown service must not count as healthy"
        return 1
    fi
}

main "$@"
