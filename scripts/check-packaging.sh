#!/usr/bin/env bash
# Checks the packaging as far as possible without building an image. Where a program is missing, the
# check that needs it is reported as skipped. With CI=true that is a failure, except for Docker, which
# no script installs; with GITHUB_ACTIONS=true, also for Docker.
set -euo pipefail
cd "$(dirname "$0")/.."

passed=0 skipped=0

ok() {
  echo "ok      $1"
  passed=$((passed + 1))
}

# skip CHECK REASON MUST_RUN: MUST_RUN is "true" where the check may not be skipped.
skip() {
  if [[ $3 == true ]]; then
    echo "FAILED  $1: $2" >&2
    exit 1
  fi
  echo "SKIPPED $1: $2"
  skipped=$((skipped + 1))
}

if command -v docker >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
  docker compose --profile observability --profile sentinel --profile cluster config --quiet
  ok "docker-compose.yaml"
else
  skip "docker-compose.yaml" "docker compose not found" "${GITHUB_ACTIONS-}"
fi

# All that compose mounts must exist, and the images of the profile `observability` have a version.
sed -nE 's|^ *- (\./[^:]*):.*|\1|p' docker-compose.yaml | while read -r path; do
  [[ -e $path ]] || { echo "docker-compose.yaml mounts $path, which does not exist" >&2; exit 1; }
done
if grep -E '^ *image: (prom|grafana|otel|jaegertracing)/' docker-compose.yaml |
  grep -vE ':v?[0-9]+\.[0-9]+\.[0-9]+$' >&2; then
  echo "docker-compose.yaml: an image without a version" >&2
  exit 1
fi
ok "mounts and images of docker-compose.yaml"

if command -v promtool >/dev/null 2>&1; then
  promtool check config --syntax-only deploy/prometheus/prometheus.yml >/dev/null
  promtool check rules deploy/prometheus/rules/*.yml >/dev/null
  promtool test rules deploy/prometheus/rules/tests/*.yml >/dev/null
  ok "deploy/prometheus"
else
  skip "deploy/prometheus" "promtool not found: run scripts/setup.sh test" "${CI-}"
fi

shellcheck=$(scripts/tools.sh shellcheck)
# 69: Go, with which it is built, is not installed.
if actionlint=$(scripts/tools.sh actionlint); then
  "$actionlint" -shellcheck "$shellcheck"
  ok ".github/workflows"
elif (($? == 69)); then
  skip ".github/workflows" "actionlint is built with Go" "${CI-}"
else
  exit 1
fi
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
"$shellcheck" "${scripts[@]}"
ok "shell scripts"

# Each package with versions of its own is updated. Modules of Maven belong to the one above.
while read -r file; do
  directory=/$(dirname "$file")
  [[ $file == *pom.xml && -e .${directory%/*}/pom.xml ]] && continue
  grep -qxE " +- (${directory%.}|${directory%/*}/\*)" .github/dependabot.yml ||
    { echo ".github/dependabot.yml lacks $directory of $file" >&2; exit 1; }
done < <(git ls-files '*Cargo.lock' '*package-lock.json' '*go.mod' '*pom.xml' \
  '*requirements*.txt' '*pyproject.toml')
ok ".github/dependabot.yml"

# The health check must be a subcommand of the binary. The build stage must have each package of the
# workspace, and the context of the build all that it copies.
grep -q 'CMD \["/usr/local/bin/larder", "healthcheck"\]' Dockerfile
context=$(mktemp -d)
trap 'rm -rf -- "$context"' EXIT
sed -nE 's/^COPY ([^-].*) [^ ]+$/\1/p' Dockerfile | tr ' ' '\n' | while read -r path; do
  [[ -e $path ]] || { echo "Dockerfile copies $path, which does not exist" >&2; exit 1; }
  grep -qxF "!$path" .dockerignore || { echo ".dockerignore leaves $path out" >&2; exit 1; }
  mkdir -p "$context/$(dirname "$path")"
  cp -R "$path" "$context/$path"
done
cargo metadata --no-deps --format-version 1 --manifest-path "$context/Cargo.toml" >/dev/null
ok "Dockerfile"

echo "packaging: $passed passed, 0 failed, $skipped skipped"
