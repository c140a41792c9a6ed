#!/usr/bin/env bash
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly JARS=$INSTALLED/java/jars STUBS=$INSTALLED/java/stubs CLASSES=$INSTALLED/java/classes
readonly IMPORTS=$INSTALLED/java/imports
readonly JAVA_RELEASE=17

# platform: this machine, as the generators' releases call it.
platform() {
    local name
    case $(uname -s) in
    Linux) name=linux ;;
    Darwin) name=osx ;;
    *) name=$(uname -s) ;;
    esac
    case $(uname -m) in
    aarch64 | arm64) echo "$name-aarch_64" ;;
    *) echo "$name-$(uname -m)" ;;
    esac
}

# Maven says which releases; jars.sha256 says of what bytes.
install() {
    rm -rf -- "$JARS"
    mkdir -p "$JARS"
    mvn --quiet --batch-mode -Dstyle.color=never --file "$CLIENT/pom.xml" dependency:copy-dependencies \
        -Dplatform="$(platform)" -DoutputDirectory="$JARS"
    # Whatever is not exactly what is listed.
    if (cd "$JARS" && sha256sum -- *) | grep -vxFf "$CLIENT/jars.sha256"; then
        echo "^ not in tests/polyglot/java/jars.sha256"
        return 1
    fi
    chmod +x "$JARS"/*.exe
}

# generator NAME: the only one of that name, for this platform.
generator() { find "$JARS" -name "$1-[0-9]*.exe"; }

compile() {
    rm -rf -- "$STUBS" "$CLASSES" "$IMPORTS"
    mkdir -p "$STUBS" "$CLASSES" "$IMPORTS"
    # The proto's imports are in the library that goes with them.
    (cd "$IMPORTS" && jar --extract --file "$(find "$JARS" -name 'protobuf-java-*.jar')" google/protobuf)
    "$(generator protoc)" -I "$repository/proto" -I "$IMPORTS" --java_out="$STUBS" \
        --plugin=protoc-gen-grpc-java="$(generator protoc-gen-grpc-java)" --grpc-java_out=@generated=omit:"$STUBS" \
        "$PROTO"
    find "$STUBS" "$CLIENT" -name '*.java' \
        -exec javac --release "$JAVA_RELEASE" -proc:none -cp "$JARS/*" -d "$CLASSES" {} +
}

# A Java that is on the path need not be there: some systems have a placeholder that only says how to install one.
need_jdk() {
    local version
    need javac "the Java client is built with it"
    version=$(javac -version 2>/dev/null | sed -nE 's/^javac ([0-9]+).*/\1/p')
    if ((${version:-0} < JAVA_RELEASE)); then
        echo "no JDK of version $JAVA_RELEASE or later: the Java client is built with it" >&2
        return "$EX_UNAVAILABLE"
    fi
    need java "the Java client runs on it"
    need mvn "the Java client's libraries are installed with it"
    need sha256sum "the Java client's libraries are checked with it"
}

setup() {
    need_jdk
    once "$INSTALLED/java/installed" "$CLIENT/pom.xml" "$CLIENT/jars.sha256" "$CLIENT/client.sh" -- install
    once "$INSTALLED/java/compiled" \
        "$CLIENT"/*.java "$PROTO" "$CLIENT/pom.xml" "$CLIENT/jars.sha256" "$CLIENT/client.sh" -- compile
}

check() {
    java -cp "$JARS/*:$CLASSES" org.junit.platform.console.ConsoleLauncher execute \
        --scan-classpath="$CLASSES" --disable-banner --details=tree --disable-ansi-colors --fail-if-no-tests
}

main "$@"
