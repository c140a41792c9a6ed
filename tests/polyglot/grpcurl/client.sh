#!/usr/bin/env bash
# Checks with grpcurl: reflection only, no proto files and no generated code.
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly SERVICE=larder.v1.CacheService ADMIN=larder.v1.AdminService

setup() { grpcurl >/dev/null; }

# expect WORD... -- ARGUMENT...: the call must succeed, and its output contain each word.
# refuse WORD... -- ARGUMENT...: the call must fail, and its output contain each word.
expect() { judge 0 "$@"; }
refuse() { judge 1 "$@"; }

judge() {
    local refused=$1 words=() word out failed=0
    shift
    while [[ $1 != -- ]]; do
        words+=("$1")
        shift
    done
    shift
    out=$("$GRPCURL" -plaintext -connect-timeout 5 -max-time 10 "$@" 2>&1) || failed=1
    if [[ $failed != "$refused" ]]; then
        show "$*" "$out" \
            "the call should have $([[ $refused == 1 ]] && echo failed || echo succeeded)"
    fi
    for word in "${words[@]}"; do
        [[ $out == *"$word"* ]] || show "$*" "$out" "not in the output: $word"
    done
}

# show ARGUMENTS OUTPUT PROBLEM
show() {
    printf '> grpcurl -plaintext %s\n%s\n^ %s\n' "$@"
    exit 1
}

check() {
    GRPCURL=$(grpcurl)
    local address=$LARDER_ADDRESS namespace=grpcurl-$$
    local entry='"namespace":"'$namespace'","key":"greeting"'

    expect "$SERVICE" grpc.health.v1.Health grpc.reflection.v1.ServerReflection -- "$address" list
    expect "$SERVICE.GetOrFetch" "$SERVICE.InvalidateNamespace" -- "$address" list "$SERVICE"
    expect "rpc Get ( .larder.v1.GetRequest ) returns ( .larder.v1.GetResponse );" \
        "rpc BatchGet ( .larder.v1.BatchGetRequest )" \
        "returns ( stream .larder.v1.BatchGetResponse );" \
        -- "$address" describe "$SERVICE"
    expect "map<string, string> params = 3;" -- "$address" describe larder.v1.GetRequest

    expect OUTCOME_MISS -- -d "{$entry}" "$address" "$SERVICE/Get"
    expect SET_RESULT_STORED '"version":' '"ttl": "' \
        -- -d "{$entry,\"value\":{\"text\":\"grüße 👋\"}}" "$address" "$SERVICE/Set"
    expect OUTCOME_HIT '"text": "grüße 👋"' '"ttlRemaining": "' \
        -- -d "{$entry}" "$address" "$SERVICE/Get"
    local glob='"targets":[{"pattern":{"namespace":"'$namespace'-2","glob":"a\\*[b-d]?*"}}]'
    expect '"results": [' -- -d "{$glob}" "$address" "$SERVICE/Invalidate"
    # Metadata of the caller is accepted, and the response metadata has the outcome.
    expect "x-cache: HIT" "x-cache-age: 0" "x-cache-ttl-remaining: " '"text": "grüße 👋"' \
        -- -v -H "x-request-id: 7" \
        -H "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" \
        -d "{$entry}" "$address" "$SERVICE/Get"
    expect SET_RESULT_STORED \
        -- -d "{$entry,\"value\":{\"json\":\"{\\\"a\\\": [1, null]}\"}}" "$address" "$SERVICE/Set"
    expect '"json": "{\"a\": [1, null]}"' -- -d "{$entry}" "$address" "$SERVICE/Get"

    refuse InvalidArgument '"field": "namespace"' "[a-z0-9]" INVALID_ARGUMENT '"domain": "larder"' \
        -- -d '{"namespace":"Not Allowed","key":"k"}' "$address" "$SERVICE/Get"
    refuse InvalidArgument '"field": "namespace"' "the limit is 64" '"limit": "64"' \
        -- -d '{"namespace":"'"$(printf 'n%.0s' {1..65})"'","key":"k"}' \
        "$address" "$SERVICE/Get"

    expect "$ADMIN" -- "$address" list
    refuse FailedPrecondition NO_ORIGIN \
        -- -d '{"namespace":"'"$namespace"'"}' "$address" "$ADMIN/Warm"
    if [[ " ${LARDER_ORIGINS-} " == *" http "* ]]; then read_through; fi

    expect SERVING -- "$address" grpc.health.v1.Health/Check
    expect '"reachable": true' \
        -- -d '{"namespaces":["'"$namespace"'"]}' "$address" "$SERVICE/Stats"
}

# Reads through ../origins/http_origin.py, where the name of a key selects the response.
read_through() {
    local key=value-grpcurl-$$-$SECONDS-$RANDOM namespace='"namespace":"origin-http"'
    local fetch="{$namespace,\"key\":\"$key\"}"
    expect FETCH_STATUS_FETCHED FILL_RESULT_STORED TIER_ORIGIN "\"text\": \"/$key#1\"" \
        "x-cache: MISS" "x-cache-fetch: FETCHED" "cache-status: Larder; fwd=miss; stored" -- -v -d "$fetch" "$address" "$SERVICE/GetOrFetch"
    expect TIER_STORE "\"text\": \"/$key#1\"" -- -d "$fetch" "$address" "$SERVICE/GetOrFetch"
    expect OUTCOME_NEGATIVE \
        -- -d "{$namespace,\"key\":\"missing-$key\"}" "$address" "$SERVICE/GetOrFetch"
    refuse Unavailable ORIGIN_FAILED '"origin": "origin-http"' \
        -- -d "{$namespace,\"key\":\"broken-$key\"}" "$address" "$SERVICE/GetOrFetch"

    expect '"total": "2"' '"done": "2"' '"stored": "1"' '"fresh": "1"' '"took": "' \
        -- -d "{$namespace,\"keys\":[{\"key\":\"$key\"},{\"key\":\"$key-2\"}]}" \
        "$address" "$ADMIN/Warm"
    expect "\"text\": \"/$key-2#1\"" \
        -- -d "{$namespace,\"key\":\"$key-2\"}" "$address" "$SERVICE/Get"
    refuse InvalidArgument '"field": "keys[0].key"' \
        -- -d "{$namespace,\"keys\":[{}]}" "$address" "$ADMIN/Warm"
}

main "$@"
