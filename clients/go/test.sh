#!/usr/bin/env bash
# Tests the Go client.
#
#   clients/go/test.sh           all checks
#   clients/go/test.sh vet       one of them
#   clients/go/test.sh --setup   only installs what they need
#
# LARDER_BIN is the server, and LARDER_CLIENT_CONTROL the control program of the conformance cases.
# The exit code is 69 without go. LARDER_GO_RACE=false leaves out the race detector.
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"

readonly here=$clients/go
# The modules: the core, and those with further dependencies.
ADAPTERS="adapters/scsstore adapters/autocertcache adapters/httpcache"
ADAPTERS+=" adapters/fiberstorage adapters/gocachestore"
readonly ADAPTERS
readonly PACKAGES=". larderotel $ADAPTERS"
readonly MODULES="$PACKAGES bench packaging"
readonly STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2

race=(-race)
[[ ${LARDER_GO_RACE-} != false ]] || race=()

setup() {
    need go "the Go client is built with it" || exit
    for module in $MODULES; do (cd "$here/$module" && go mod download); done
    if [[ ! -x $INSTALLED/staticcheck/staticcheck ]]; then
        GOBIN=$INSTALLED/staticcheck go install "$STATICCHECK"
    fi
}

# run_tests MODULE PACKAGE...: fails also if no test was run.
run_tests() {
    local module=$here/$1 log=$work/go-${1//[^a-z]/}-${2//[^a-z]/} code=0
    shift
    (cd "$module" && go test -count=1 -timeout=10m "${race[@]}" -json "$@") >"$log" || code=$?
    if ((code != 0)); then
        sed -nE 's/.*"Action":"output".*"Output":"(.*)"\}$/\1/p' "$log" |
            sed 's/\\n$//; s/\\t/    /g; s/\\"/"/g' | tail -n 150
        return "$code"
    fi
    local passed skipped
    passed=$(grep '"Action":"pass"' "$log" | grep -c '"Test"' || true)
    skipped=$(grep -c '"Action":"skip".*"Test"' "$log" || true)
    echo "$passed passed, $skipped skipped"
    ((passed > 0))
}

check_unit() { run_tests . . ./lardertest ./internal/globs; }

check_conformance() {
    report_conformance go
    run_tests . ./internal/conformance
}

check_otel() { run_tests larderotel ./...; }

check_adapters() {
    local module
    for module in $ADAPTERS; do run_tests "$module" ./... || return; done
}

# The packages as users install them: from archives of a module proxy, into an empty cache.
check_package() {
    local proxy=$work/proxy consumer=$work/consumer cache=$work/modules version module
    version=v$(sed -nE 's/^const Version = "(.*)"$/\1/p' "$here/version.go")
    local folders=() package
    for package in $PACKAGES; do folders+=("$here/$package"); done
    (cd "$here/packaging" && go run . "$version" "$proxy" "${folders[@]}")
    mkdir -p "$consumer"
    # shellcheck disable=SC2016 # The backticks are those of Markdown.
    sed -nE '/^```go$/,/^```$/p' "$here/README.md" | sed '1d; /^```$/,$d' >"$work/readme"
    sed -e "/^README$/{r $work/readme" -e 'd}' "$here/packaging/example_test.go.txt" \
        >"$consumer/example_test.go"
    (
        cd "$consumer"
        GOPROXY=file://$proxy,file://$(go env GOMODCACHE)/cache/download
        # The archives are not those of a public database of checksums. Without the paths of the
        # caches, what was built before is used again.
        export GOPROXY GOSUMDB=off GOMODCACHE=$cache GOFLAGS="-modcacherw -trimpath"
        go mod init larder.test/consumer
        go get "larder.test/clients/go@$version"
        if go list -m all | grep -iE 'redis|fiber|prometheus'; then
            echo "the client has dependencies of others"
            return 1
        fi
        for module in $PACKAGES; do
            [[ $module == . ]] || go get "larder.test/clients/go/$module@$version"
        done
        go mod tidy
        go test -count=1 -v .
    )
    echo "$(wc -w <<<"$PACKAGES") packages passed"
}

check_vet() {
    local unformatted
    unformatted=$(cd "$here" && gofmt -l .)
    [[ -z $unformatted ]] || {
        echo "not formatted: $unformatted"
        return 1
    }
    for module in $MODULES; do
        (cd "$here/$module" && go vet ./... && "$INSTALLED/staticcheck/staticcheck" ./... &&
            go mod tidy -diff)
    done
    echo "vet and staticcheck find nothing"
}

check_generated() {
    "$here/generate.sh" --check
    echo "the generated code is that of the protos"
}

case ${1-} in
--setup) setup ;;
'')
    setup >&2
    run_lanes go "vet generated package unit conformance otel adapters"
    ;;
*)
    setup >&2
    run_lanes go "$*"
    ;;
esac
