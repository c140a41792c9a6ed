#!/usr/bin/env bash
# Checks what runs Larder on servers: the Helm chart, the manifests that are made from it, the unit
# of systemd, and the manual pages. The rendered configuration is run by the real server.
#
#   scripts/check-deploy.sh            all checks
#   scripts/check-deploy.sh --setup    only installs what they need
#   scripts/check-deploy.sh --write    writes deploy/kubernetes and the table of values
#
# LARDER_BIN is the server (target/debug/larder by default). Without Go, or without systemd, the
# checks that need it are reported as skipped; with CI=true, missing Go is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CHART=deploy/helm/larder MANIFESTS=deploy/kubernetes UNIT=deploy/systemd/larder.service
readonly EX_UNAVAILABLE=69
# A helm that is built from its module takes an older version for that of the cluster.
readonly KUBERNETES=1.37.0
# Of `systemd-analyze security`, in tenths.
readonly MAX_EXPOSURE=20

larder=${LARDER_BIN:-target/debug/larder}
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
passed=0 skipped=0

ok() {
  echo "ok      $1"
  passed=$((passed + 1))
}

skip() {
  echo "SKIPPED $1: $2"
  skipped=$((skipped + 1))
}

fail() {
  echo "FAILED  $1" >&2
  exit 1
}

# template FLAG...: prints the manifests of a release.
template() {
  "$helm" template larder "$CHART" --kube-version "$KUBERNETES" "$@"
}

# render VALUES...: prints the manifests of a release with these files of values.
render() {
  local files=()
  for values in "$@"; do files+=(--values "$values"); done
  template --namespace cache "${files[@]}"
}

# The files of deploy/kubernetes that are made from the chart.
readonly MADE=(larder horizontalpodautoscaler servicemonitor)

# manifest NAME
manifest() {
  local flags=()
  case $1 in
  larder) ;;
  horizontalpodautoscaler)
    echo "# Optional. Delete \`replicas\` of the Deployment in larder.yaml: the autoscaler sets it."
    flags=(--set autoscaling.enabled=true --show-only templates/horizontalpodautoscaler.yaml)
    ;;
  servicemonitor)
    echo "# Optional. It needs the Prometheus operator, and the token of secret.yaml."
    flags=(--set serviceMonitor.enabled=true --set serviceMonitor.labels.release=prometheus
      --set admin.tokenSecret.name=larder --set admin.tokenSecret.key=admin-token
      --show-only templates/servicemonitor.yaml)
    ;;
  esac
  echo "# Made by scripts/check-deploy.sh --write, from $CHART and values.yaml beside this file."
  # Without the hook of `helm test`, and without marks of Helm.
  template --namespace default --no-hooks --values "$MANIFESTS/values.yaml" "${flags[@]}" |
    sed -e '/^# Source: /d' -e '/helm.sh\/chart:/d' -e '/managed-by: Helm/d' \
      -e '/^  namespace: default$/d' -e 's/ *$//'
}

check_chart() {
  local values made rendered=()
  for values in "$CHART"/ci/*-values.yaml; do
    "$helm" lint --strict --quiet --kube-version "$KUBERNETES" "$CHART" --values "$values" \
      >"$work/lint" ||
      { cat "$work/lint" >&2; fail "helm lint with $values"; }
    render "$values" >"$work/$(basename "$values" -values.yaml).yaml"
    rendered+=("$work/$(basename "$values" -values.yaml).yaml")
  done
  ok "helm lint with ${#rendered[@]} files of values"
  for made in "${MADE[@]}"; do
    manifest "$made" >"$work/manifest"
    diff -u "$MANIFESTS/$made.yaml" "$work/manifest" >&2 ||
      fail "$MANIFESTS/$made.yaml is out of date: run scripts/check-deploy.sh --write"
    ok "$MANIFESTS/$made.yaml"
  done
  # All of them together, as their remarks ask for it.
  cat "$MANIFESTS"/{larder,horizontalpodautoscaler,servicemonitor,secret}.yaml |
    sed '/^  replicas: 3$/d' >"$work/kubernetes.yaml"
  python3 scripts/deploy/check_manifests.py "${rendered[@]}" "$MANIFESTS/larder.yaml" \
    "$work/kubernetes.yaml"
  python3 scripts/deploy/chart_values.py "$CHART" --check
  PACKAGE_DIR=$work/package scripts/package.sh chart registry.example/Larder >/dev/null
  ok "the chart of a release names the image of the release"
  check_refusals
  check_broken "$work/redis.yaml"
  python3 scripts/deploy/run_rendered.py "$larder" "${rendered[@]}" "$MANIFESTS/larder.yaml"
  passed=$((passed + 2 * ${#rendered[@]} + 4))
}

# Values that cannot work, and a part of the error. See templates/_checks.tpl and the schema.
check_refusals() {
  local line expected count=0
  while IFS='|' read -r expected line; do
    # shellcheck disable=SC2086 # several flags
    if template $line >"$work/out" 2>"$work/error"; then
      fail "the chart accepts $line"
    fi
    grep -qF "$expected" "$work/error" || { cat "$work/error" >&2; fail "$line: no '$expected'"; }
    count=$((count + 1))
  done <scripts/deploy/refused-values.txt
  ok "$count mistakes in values are refused"
}

# check_broken FILE: the checks of manifests must find a fault in a file that passes them.
check_broken() {
  local change count=0
  while IFS= read -r change; do
    sed -E "$change" "$1" >"$work/broken.yaml"
    ! cmp -s "$1" "$work/broken.yaml" || fail "'$change' changes nothing"
    ! python3 scripts/deploy/check_manifests.py "$work/broken.yaml" >/dev/null 2>&1 ||
      fail "a manifest with '$change' passes"
    count=$((count + 1))
  done <scripts/deploy/broken-manifests.txt
  ok "$count broken manifests are found"
}

check_pages() {
  local page warnings count=0
  "$larder" man "$work/man"
  for page in "$work"/man/*.1; do
    warnings=$(MANWIDTH=80 man --warnings --encoding=UTF-8 --local-file --troff-device=utf8 \
      --ditroff "$page" 2>&1 >/dev/null) || true
    [[ -z $warnings ]] || fail "$(basename "$page"): $warnings"
    count=$((count + 1))
  done
  ok "$count manual pages"
}

check_unit() {
  local exposure
  # The binary and the page are those of an installed package.
  mkdir -p "$work/root/unit"
  sed 's|^ExecStart=/usr/bin/larder|ExecStart=/bin/true|' "$UNIT" >"$work/root/unit/larder.service"
  systemd-analyze verify --man=no "$work/root/unit/larder.service"
  # Older versions of systemd have no --offline.
  if exposure=$(systemd-analyze security --offline=yes "$work/root/unit/larder.service" 2>&1); then
    exposure=$(sed -nE 's/.*Overall exposure level.*: ([0-9]+)\.([0-9]).*/\1\2/p' <<<"$exposure")
    ((10#$exposure <= MAX_EXPOSURE)) || fail "$UNIT: exposure level $exposure tenths"
  fi
  systemd-sysusers --dry-run "$PWD/deploy/systemd/larder.sysusers" >/dev/null 2>&1 ||
    fail "deploy/systemd/larder.sysusers"
  python3 scripts/deploy/unit_filter.py "$UNIT" examples/seccomp.json
  passed=$((passed + 1))
  ok "$UNIT"
}

code=0
helm=$(scripts/tools.sh helm) || code=$?
if ((code == EX_UNAVAILABLE)) && [[ ${CI-} != true ]]; then
  helm=''
elif ((code != 0)); then
  exit "$code"
fi
validate=$(scripts/tools.sh kubernetes-validate)
# The packages that come with it, PyYAML among them.
export PYTHONPATH=${validate%/bin/*} PYTHONDONTWRITEBYTECODE=1

case ${1-} in
--setup) exit ;;
--write)
  [[ $helm ]] || fail "helm is built with Go, which is not installed"
  python3 scripts/deploy/chart_values.py "$CHART" --write
  for made in "${MADE[@]}"; do
    manifest "$made" >"$work/manifest"
    cp "$work/manifest" "$MANIFESTS/$made.yaml"
  done
  exit
  ;;
esac

[[ -x $larder ]] || fail "$larder not found: run \`cargo build\`, or set LARDER_BIN"
if [[ $helm ]]; then check_chart; else skip "$CHART" "helm is built with Go"; fi
if command -v systemd-analyze >/dev/null 2>&1; then
  check_unit
else
  skip "$UNIT" "systemd-analyze not found"
fi
if command -v man >/dev/null 2>&1; then
  check_pages
else
  skip "manual pages" "man not found"
fi
echo "deploy: $passed passed, 0 failed, $skipped skipped"
