#!/usr/bin/env bash
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly JARS=$INSTALLED/java/jars STUBS=$INSTALLED/java/stubs CLASSES=$INSTALLED/java/classes
readonly IMPORTS=$INSTALLED/java/imports
readonly JAVA_RELEASE=17 EXAMPLE=$repository/examples/java

# platform: prints the classifier of this machine in the generators' releases.
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

# pom.xml pins the versions, jars.sha256 the contents.
install() {
    rm -rf -- "$JARS"
    mkdir -p "$JARS"
    mvn --quiet --batch-mode -Dstyle.color=never --file "$CLIENT/pom.xml" \
        dependency:copy-dependencies -Dplatform="$(platform)" -DoutputDirectory="$JARS"
    # Prints every file that is not listed.
    if (cd "$JARS" && sha256sum -- *) | grep -vxFf "$CLIENT/jars.sha256"; then
        echo "^ not in tests/polyglot/java/jars.sha256"
        return 1
    fi
    chmod +x "$JARS"/*.exe
}

# generator NAME: prints the path of the only generator of that name.
generator() { find "$JARS" -name "$1-[0-9]*.exe"; }

compile() {
    rm -rf -- "$STUBS" "$CLASSES" "$IMPORTS"
    mkdir -p "$STUBS" "$CLASSES" "$IMPORTS"
    # The library contains the protos that ours imports.
    (
        cd "$IMPORTS"
        jar --extract --file "$(find "$JARS" -name 'protobuf-java-*.jar')" google/protobuf
    )
    "$(generator protoc)" -I "$repository/proto" -I "$IMPORTS" --java_out="$STUBS" \
        --plugin=protoc-gen-grpc-java="$(generator protoc-gen-grpc-java)" \
        --grpc-java_out=@generated=omit:"$STUBS" "$PROTO"
    find "$STUBS" "$CLIENT" "$EXAMPLE" -name '*.java' \
        -exec javac --release "$JAVA_RELEASE" -proc:none -cp "$JARS/*" -d "$CLASSES" {} +
}

# On some systems, javac in the path is a placeholder that only prints how to install Java.
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
    local inputs=("$CLIENT/pom.xml" "$CLIENT/jars.sha256" "$CLIENT/client.sh")
    once "$INSTALLED/java/installed" "${inputs[@]}" -- install
    once "$INSTALLED/java/compiled" "$CLIENT"/*.java "$EXAMPLE"/*.java "$PROTO" "${inputs[@]}" -- compile
}

check() {
    java -cp "$JARS/*:$CLASSES" org.junit.platform.console.ConsoleLauncher execute \
        --scan-classpath="$CLASSES" --disable-banner --details=tree --disable-ansi-colors \
        --fail-if-no-tests
}

load() { exec java -cp "$JARS/*:$CLASSES" Load; }

main "$@"
