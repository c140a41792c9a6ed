#!/usr/bin/env bash
# Builds the wheel and the source archive, and uses them as users do: in new environments without
# the sources, with each Python from 3.10 to 3.14 that is on this machine, with the lowest and the
# newest versions of grpcio and protobuf.
#
# LARDER_BIN is the server. The packages stay in target/clients/python-dist.

set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$here/../.." && pwd)
larder=${LARDER_BIN:-$repository/target/debug/larder}
dist=$repository/target/clients/python-dist
readonly here repository larder dist

# The lowest versions that pyproject.toml permits, with the lowest that have a build for the Python.
readonly LOWEST="3.10:grpcio==1.62.3,protobuf==4.25.8
3.11:grpcio==1.62.3,protobuf==4.25.8
3.12:grpcio==1.62.3,protobuf==4.25.8
3.13:grpcio==1.66.2,protobuf==4.25.8
3.14:grpcio==1.75.1,protobuf==5.29.5"

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-package.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

export PYTHONDONTWRITEBYTECODE=1

fail() {
    echo "package: $1" >&2
    exit 1
}

# python_of VERSION: the interpreter of a version, such as 3.12; on the path or of pyenv.
python_of() {
    local candidate
    for candidate in "$(command -v "python$1" || true)" "$HOME"/.pyenv/versions/"$1".*/bin/python \
        "$(command -v python3 || true)"; do
        [[ -n $candidate && -x $candidate ]] || continue
        [[ $("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) == "$1" ]] ||
            continue
        echo "$candidate"
        return
    done
    return 1
}

# environment DIRECTORY PYTHON REQUIREMENT...
environment() {
    local directory=$1 python=$2
    shift 2
    "$here/uv.sh" venv --quiet --python "$python" "$directory" &&
        "$here/uv.sh" pip install --quiet --python "$directory/bin/python" "$@"
}

build() {
    local source=$work/source archive wheel
    # A copy, so that nothing but the committed files can be in the packages.
    mkdir -p "$source"
    (cd "$here" && git ls-files -z --cached --others --exclude-standard . |
        xargs -0 cp --parents -t "$source")
    cp "$repository/LICENSE" "$source/LICENSE"
    environment "$work/build" python3 build hatchling
    rm -rf -- "$dist"
    mkdir -p "$dist"
    "$work/build/bin/python" -m build --no-isolation --outdir "$dist" "$source" \
        >"$work/build.log" 2>&1 || {
        cat "$work/build.log" >&2
        return 1
    }
    wheel=$(echo "$dist"/larder_cache-*-py3-none-any.whl)
    archive=$(echo "$dist"/larder_cache-*.tar.gz)
    [[ -f $wheel && -f $archive ]] || fail "expected one wheel for all machines: $(ls "$dist")"
    contents=$("$work/build/bin/python" -m zipfile --list "$wheel" | awk '{ print $1 }')
    for file in larder_cache/py.typed larder_cache/_gen/cache_service_pb2.py; do
        grep -qx "$file" <<<"$contents" || fail "the wheel lacks $file"
    done
    if grep -vE '^(larder_cache/|larder_cache-[0-9a-z.]+\.dist-info/|File$)' <<<"$contents"; then
        fail "the wheel has files outside of larder_cache"
    fi
}

# consume VERSION KIND REQUIREMENT...
consume() {
    local version=$1 kind=$2 python environment=$work/$1-$2
    shift 2
    python=$(python_of "$version")
    environment "$environment" "$python" "$(echo "$dist"/*.whl)" "$@" 2>"$work/install.log" || {
        cat "$work/install.log" >&2
        fail "the wheel cannot be installed with Python $version, $kind"
    }
    # Not from the sources: the test is copied out of the repository.
    cp "$here/tests/installed.py" "$environment/installed.py"
    (cd "$environment" && LARDER_BIN=$larder bin/python -W error::DeprecationWarning:larder_cache \
        installed.py) || fail "Python $version, $kind"
}

build
used=0 absent=''
while IFS=: read -r version lowest; do
    if ! python_of "$version" >/dev/null; then
        absent+=" $version"
        continue
    fi
    # shellcheck disable=SC2086 # The requirements are separated by commas.
    consume "$version" lowest ${lowest//,/ }
    consume "$version" newest grpcio protobuf
    used=$((used + 2))
done <<<"$LOWEST"
# The source archive is for those who build by themselves.
environment "$work/archive" python3 "$(echo "$dist"/*.tar.gz)"
cp "$here/tests/installed.py" "$work/archive/installed.py"
(cd "$work/archive" && LARDER_BIN=$larder bin/python installed.py) || fail "the source archive"

((used > 0)) || fail "no Python from 3.10 to 3.14 was found"
[[ -z $absent ]] || echo "left out, as they are not on this machine: Python$absent"
echo "$((used + 1)) environments used the packages"
