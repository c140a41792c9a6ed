#!/usr/bin/env bash
# Tests the Java client.
#
#   clients/java/test.sh                all checks
#   clients/java/test.sh conformance    one of them
#   clients/java/test.sh --setup        only builds and installs what they need
#
# LARDER_BIN is the server, and LARDER_CLIENT_CONTROL the control program of the conformance cases.
# The exit code is 69 without a JDK and Maven.
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"

readonly here=$clients/java
# The tests have a local repository of their own, so that they find no older build of the modules.
readonly LOCAL=$INSTALLED/java/repository
readonly JAVA_RELEASE=17
# A run with other counts has failed, also an empty one.
readonly TCK_TESTS=479
readonly SPRING_TESTS=larder-spring-tests,larder-spring-boot4-tests
readonly SPRING_BOOTS="3.5.7 4.0.7"

maven() { mvn --batch-mode -Dstyle.color=never -Dmaven.repo.local="$LOCAL" "$@"; }

# counted: runs tests, and prints the numbers in one line.
counted() {
    local code=0 log
    log=$(mktemp "$work/maven.XXXXXX")
    (cd "$here" && maven --offline "$@") >"$log" 2>&1 || code=$?
    if ((code != 0)); then
        grep -vE '^\[INFO\]|^$' "$log" | cut -c1-1000
        return "$code"
    fi
    # The line of each module, without the time that those of each class have.
    sed -nE 's/.*Tests run: ([0-9]+), Failures: 0, Errors: 0, Skipped: ([0-9]+)$/\1 \2/p' "$log" |
        awk '{ run += $1; skipped += $2 }
            END { print run - skipped " passed, " skipped + 0 " skipped"; exit run == skipped }'
}

install_all() {
    (cd "$here" && maven --quiet install -DskipTests)
    # The tests run offline: what only they need is fetched now.
    (cd "$here" && maven --quiet surefire:test -pl larder-tests -Dtest=RpcsTest)
    (cd "$here" && maven --quiet surefire:test -pl "$SPRING_TESTS" -Dtest=KeysTest)
    build_consumer
    for_each_boot build_spring_consumer
}

# build_consumer ARGUMENT...: builds the program of a user, outside of the repository.
build_consumer() {
    rm -rf -- "$work/consumer"
    cp -R "$here/consumer" "$work/consumer"
    (cd "$work/consumer" && maven --quiet "$@" package dependency:copy-dependencies)
}

# build_spring_consumer VERSION ARGUMENT...: the same with Spring Boot.
build_spring_consumer() {
    local version=$1
    shift
    rm -rf -- "$work/spring-$version"
    cp -R "$here/larder-spring-consumer" "$work/spring-$version"
    (cd "$work/spring-$version" && maven --quiet -Dspring-boot.version="$version" "$@" package)
}

# for_each_boot COMMAND ARGUMENT...: runs the command with each version of Spring Boot.
for_each_boot() {
    local command=$1 version
    shift
    for version in $SPRING_BOOTS; do "$command" "$version" "$@"; done
}

setup() {
    need javac "the Java client is built with it" || exit
    need mvn "the Java client is built with it" || exit
    local version
    version=$(javac -version 2>/dev/null | sed -nE 's/^javac ([0-9]+).*/\1/p')
    ((${version:-0} >= JAVA_RELEASE)) || {
        echo "a JDK of version $JAVA_RELEASE or later is needed" >&2
        exit "$EX_UNAVAILABLE"
    }
    local inputs
    mapfile -t inputs < <(find "$here" "$repository/proto" -path '*/target' -prune -o \
        \( -name '*.java' -o -name pom.xml -o -name '*.proto' -o -path '*/main/resources/*' \) \
        -type f -print | sort)
    once "$INSTALLED/java" "${inputs[@]}" -- install_all
}

check_unit() {
    counted surefire:test -pl larder-client,larder-jcache,larder-tests -Dtest='!Conformance*,!Matrix*'
}

check_conformance() {
    report_conformance java
    counted surefire:test -pl larder-tests -Dtest='ConformanceTest'
}

# The suites of others: SUITES.md. LARDER_SUITE_STORE=redis runs them on Redis.
check_suites() {
    local counts
    counts=$(counted surefire:test -pl larder-jcache-tck) || {
        echo "$counts"
        return 1
    }
    echo "JCache TCK: $counts"
    [[ $counts == "$TCK_TESTS passed, 0 skipped" ]]
}

check_generated() { counted surefire:test -pl larder-tests -Dtest='RpcsTest'; }

# Another project, with the modules from a repository, and without what is optional.
check_package() {
    build_consumer --offline
    java -cp "$work/consumer/target/classes:$work/consumer/target/dependency/*" Consumer
}

# All tests with both versions of Spring Boot, on the embedded store.
check_spring() { counted --fail-at-end surefire:test -pl "$SPRING_TESTS"; }

# Those that depend on the store, on Redis.
check_spring_redis() {
    LARDER_TEST_STORE=redis counted surefire:test -pl larder-spring-boot4-tests \
        -Dtest='CacheContractTest,*AnnotationsTest,FleetTest,TagsTest,EvictTagsTest'
}

run_spring_consumer() { java -jar "$work/spring-$1/target/app.jar"; }

# A program with each version of Spring Boot, as one archive.
check_spring_package() {
    for_each_boot build_spring_consumer --offline
    for_each_boot run_spring_consumer
    echo "programs with Spring Boot: $(wc -w <<<"$SPRING_BOOTS") passed, 0 skipped"
}

case ${1-} in
--setup) setup ;;
'')
    setup >&2
    # One after another: they share the folders of Maven.
    run_lanes java "generated unit package conformance suites spring spring-redis spring-package"
    ;;
*)
    setup >&2
    run_lanes java "$*"
    ;;
esac
