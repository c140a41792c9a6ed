#!/usr/bin/env bash
# Checks the packaging as far as possible without building an image. No script installs Docker or
# promtool: where one is missing, the check that needs it is reported as skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

passed=0 skipped=0

ok() {
  echo "ok      $1"
  passed=$((passed + 1))
}

skip() {
  echo "SKIPPED $1: $2"
  skipped=$((skipped + 1))
}

if command -v docker >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
  docker compose --profile observability --profile sentinel --profile cluster config --quiet
  ok "docker-compose.yaml"
else
  skip "docker-compose.yaml" "docker compose not found"
fi

if command -v promtool >/dev/null 2>&1; then
  promtool check config --syntax-only deploy/prometheus/prometheus.yml >/dev/null
  promtool check rules deploy/prometheus/alerts.yml >/dev/null
  promtool test rules deploy/prometheus/alerts.test.yml >/dev/null
  ok "deploy/prometheus"
else
  skip "deploy/prometheus" "promtool not found"
fi

shellcheck=$(scripts/tools.sh shellcheck)
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
"$shellcheck" "${scripts[@]}"
ok "shell scripts"

# The health check must be a subcommand of the binary, and every file that is copied must exist.
grep -q 'CMD \["/usr/local/bin/larder", "healthcheck"\]' Dockerfile
sed -nE 's/^COPY ([^-].*) [^ ]+$/\1/p' Dockerfile | tr ' ' '\n' | while read -r path; do
  [[ -e $path ]] || { echo "Dockerfile copies $path, which does not exist" >&2; exit 1; }
done
ok "Dockerfile"

echo "packaging: $passed passed, 0 failed, $skipped skipped"
