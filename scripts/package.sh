#!/usr/bin/env bash
# Builds what a release has, into target/package (or PACKAGE_DIR).
#
#   scripts/package.sh static deb
#
#   static                  the binary, linked statically with musl, in an archive
#   deb                     the Debian package of that binary
#   chart IMAGE             the Helm chart, with the repository of this image as its default
#   check-version VERSION   fails unless the package, the chart and CHANGELOG.md have this version
#   notes VERSION           prints the part of CHANGELOG.md about this version
#
# PROFILE=dev builds without optimisation, to try it out. It needs musl-gcc (musl-tools in Debian),
# which it installs.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$HOME/.cargo/bin:$PATH
umask 022
# Times in the archives: the same commit makes the same files.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

readonly PROFILE=${PROFILE:-release}
readonly OUT=${PACKAGE_DIR:-target/package}
machine=$(uname -m)
readonly TARGET=$machine-unknown-linux-musl
# The files of the Debian package: mode, source, target. BINARY is the binary, and FILES has the
# pages and completions that it makes.
readonly INSTALLED='
755 BINARY                          usr/bin/larder
644 deploy/systemd/larder.service   lib/systemd/system/larder.service
644 deploy/systemd/larder.sysusers  usr/lib/sysusers.d/larder.conf
644 deploy/systemd/larder.tmpfiles  usr/lib/tmpfiles.d/larder.conf
644 deploy/systemd/larder.logrotate etc/logrotate.d/larder
640 deploy/systemd/larder.default   etc/default/larder
640 larder.example.toml             etc/larder/larder.toml
644 larder.example.toml             usr/share/doc/larder/larder.example.toml
644 README.md                       usr/share/doc/larder/README.md
644 deploy/debian/copyright         usr/share/doc/larder/copyright
644 FILES/completions/larder.bash   usr/share/bash-completion/completions/larder
644 FILES/completions/larder.zsh    usr/share/zsh/vendor-completions/_larder
644 FILES/completions/larder.fish   usr/share/fish/vendor_completions.d/larder.fish
'
# Files of the administrator, which an update keeps.
readonly CONFFILES='/etc/default/larder
/etc/larder/larder.toml
/etc/logrotate.d/larder'

fail() {
  echo "package: $1" >&2
  exit 1
}

version() {
  sed -nE 's/^version = "(.*)"$/\1/p' Cargo.toml | head -n 1
}

# The directory with the binary of this profile.
binaries() {
  if [[ $PROFILE == dev ]]; then echo "target/$TARGET/debug"; else echo "target/$TARGET/$PROFILE"; fi
}

setup_musl() {
  scripts/setup.sh build musl
  rustup target list --installed | grep -qx "$TARGET" || rustup target add "$TARGET"
}

# Builds the binary, and what the packages have besides.
build() {
  local binary
  binary=$(binaries)/larder
  setup_musl
  cargo build --locked --package larder --bin larder --target "$TARGET" --profile "$PROFILE"
  ! readelf --dynamic --program-headers "$binary" | grep -E 'NEEDED|INTERP' ||
    fail "$binary is not static"
  rm -rf -- "$OUT/files"
  mkdir -p "$OUT/files/completions"
  "$binary" man "$OUT/files/man"
  gzip --best --no-name "$OUT"/files/man/*.1
  for shell in bash zsh fish; do
    "$binary" completions "$shell" >"$OUT/files/completions/larder.$shell"
  done
}

static() {
  local name directory
  name=larder-$(version)-$machine-linux-musl
  directory=$OUT/$name
  build
  rm -rf -- "$directory"
  mkdir -p "$directory/deploy"
  cp -R "$(binaries)/larder" "$OUT/files/man" "$OUT/files/completions" \
    LICENSE README.md CHANGELOG.md larder.example.toml "$directory"
  cp -R deploy/systemd "$directory/deploy"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --create --directory "$OUT" "$name" | gzip --best --no-name >"$OUT/$name.tar.gz"
  rm -rf -- "$directory"
  echo "$OUT/$name.tar.gz"
}

# Made with dpkg-deb: a static binary needs no more, and cargo-deb takes minutes to build.
deb() {
  local root=$OUT/root mode source target architecture package
  command -v dpkg-deb >/dev/null 2>&1 || fail "dpkg-deb is not installed"
  [[ -x $(binaries)/larder && -d $OUT/files ]] || build
  rm -rf -- "$root"
  while read -r mode source target; do
    [[ $mode ]] || continue
    source=${source/#BINARY/$(binaries)/larder}
    install -D --mode="$mode" "${source/#FILES/$OUT/files}" "$root/$target"
  done <<<"$INSTALLED"
  install -D --mode=644 --target-directory="$root/usr/share/man/man1" "$OUT"/files/man/*.1.gz
  gzip --best --no-name --stdout CHANGELOG.md >"$root/usr/share/doc/larder/changelog.gz"
  install -D --mode=755 --target-directory="$root/DEBIAN" \
    deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm
  echo "$CONFFILES" >"$root/DEBIAN/conffiles"
  architecture=$(dpkg --print-architecture)
  sed -e "s/@VERSION@/$(version)/" -e "s/@ARCHITECTURE@/$architecture/" \
    -e "s/@SIZE@/$(du --summarize --exclude=DEBIAN "$root" | cut -f 1)/" \
    deploy/debian/control >"$root/DEBIAN/control"
  package=$OUT/larder_$(version)-1_$architecture.deb
  dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
  rm -rf -- "$root"
  check_deb "$package"
  echo "$package"
}

# check_deb FILE: unpacks the package, and runs what is in it.
check_deb() {
  local root=$OUT/unpacked
  rm -rf -- "$root"
  dpkg-deb --extract "$1" "$root"
  "$root/usr/bin/larder" check-config --config "$root/etc/larder/larder.toml" >/dev/null
  [[ -s $root/usr/share/man/man1/larder.1.gz ]] || fail "$1 has no manual page"
  rm -rf -- "$root"
}

# chart IMAGE. The chart of the checkout has the name of an image that is built by hand.
chart() {
  local helm chart=$OUT/chart/larder
  helm=$(scripts/tools.sh helm)
  rm -rf -- "$OUT/chart"
  mkdir -p "$OUT/chart"
  cp -R deploy/helm/larder "$chart"
  PYTHONPATH=$(scripts/tools.sh kubernetes-validate)
  export PYTHONPATH=${PYTHONPATH%/bin/*} PYTHONDONTWRITEBYTECODE=1
  sed -i -e '/^  # Where the image is: there is no public one yet/d' \
    -e "s|^  repository: larder$|  repository: ${1,,}|" "$chart/values.yaml"
  python3 scripts/deploy/chart_values.py "$chart" --write
  "$helm" template larder "$chart" --kube-version 1.37.0 | grep -q "image: ${1,,}:$(version)$" ||
    fail "the chart does not use the image $1"
  "$helm" package "$chart" --destination "$OUT"
  rm -rf -- "$OUT/chart"
}

check_version() {
  local wanted=$1
  [[ $(version) == "$wanted" ]] || fail "Cargo.toml has version $(version), not $wanted"
  grep -qx "version: $wanted" deploy/helm/larder/Chart.yaml || fail "Chart.yaml: version"
  grep -qx "appVersion: \"$wanted\"" deploy/helm/larder/Chart.yaml || fail "Chart.yaml: appVersion"
  [[ -n $(notes "$wanted") ]] || fail "CHANGELOG.md has nothing about $wanted"
}

notes() {
  awk -v heading="## [$1]" '
    /^## / { inside = index($0, heading) == 1; next }
    inside
  ' CHANGELOG.md
}

(($# > 0)) ||
  fail "usage: scripts/package.sh static|deb|chart IMAGE|check-version VERSION|notes VERSION"
mkdir -p "$OUT"
while (($# > 0)); do
  case $1 in
  static | deb) "$1" ;;
  chart)
    (($# == 2)) || fail "chart needs the repository of the image"
    chart "$2"
    shift
    ;;
  check-version | notes)
    (($# == 2)) || fail "$1 needs a version"
    "${1/-/_}" "$2"
    shift
    ;;
  *) fail "unknown argument '$1'" ;;
  esac
  shift
done
rm -rf -- "$OUT/files"
