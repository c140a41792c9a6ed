#!/usr/bin/env bash
# Builds the workers, and runs the polyglot test: see README.md.
#
#   polyglot.sh              all languages
#   polyglot.sh --setup      only builds the workers
#   polyglot.sh node rust    these, of python, node, go, java and rust
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"
# shellcheck source=clients/fleet/_run.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"

readonly workers=$folder/workers
readonly built=$INSTALLED/fleet
readonly JAVA_REPOSITORY=$INSTALLED/java/repository

# sources DIRECTORY...: the files that a worker is made from, without build output.
sources() {
    find "$@" \( -name target -o -name tests \) -prune -o -type f \( -name '*.go' -o -name 'go.*' \
        -o -name '*.java' -o -name pom.xml -o -name '*.rs' -o -name 'Cargo.*' \) -print | sort
}

build_go() { go build -C "$workers/go" -o "$built/go/polyglot" .; }

build_java() {
    rm -rf -- "$built/java/lib" "$built/java/classes"
    mvn --batch-mode --quiet --offline -Dmaven.repo.local="$JAVA_REPOSITORY" \
        -f "$clients/java/consumer/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$built/java/lib"
    mkdir -p "$built/java/classes"
    javac --release 17 -Xlint:all -Werror -cp "$built/java/lib/*" -d "$built/java/classes" \
        "$workers/java/"*.java
}

build_rust() {
    cargo build --quiet --locked --manifest-path "$workers/rust/Cargo.toml" \
        --target-dir "$INSTALLED/fleet-rust"
    mkdir -p "$built/rust"
    cp "$INSTALLED/fleet-rust/debug/polyglot" "$built/rust/"
}

# build LANGUAGE
build() {
    local inputs
    case $1 in
    python | node) ;;
    go)
        need go "the Go worker is built with it"
        mapfile -t inputs < <(sources "$clients/go" "$workers/go")
        once "$built/go" "${inputs[@]}" -- build_go
        ;;
    java)
        # The client is in the repository of its tests.
        "$clients/java/test.sh" --setup
        mapfile -t inputs < <(sources "$clients/java" "$workers/java")
        once "$built/java" "${inputs[@]}" -- build_java
        ;;
    rust)
        need cargo "the Rust worker is built with it"
        mapfile -t inputs < <(sources "$clients/rust" "$workers/rust")
        once "$built/rust" "${inputs[@]}" "$repository/Cargo.toml" -- build_rust
        ;;
    *)
        echo "usage: polyglot.sh [python] [node] [go] [java] [rust]" >&2
        exit 2
        ;;
    esac
}

setup_only=false
if [[ ${1-} == --setup ]]; then
    setup_only=true
    shift
fi
(($# > 0)) || set -- python node go java rust
for language in "$@"; do build "$language" >&2; done
[[ $setup_only == false ]] || exit 0
# `run` replaces this process, so that its trap does not run.
rm -rf -- "$work"
run polyglot "$@"
