#!/usr/bin/env bash
# Writes the bill of materials of the server, in the format CycloneDX 1.5, to target/sbom/larder.json:
# each crate of the binary with its version, license and checksum, as Cargo.lock and the
# manifests have them. It needs no network once the crates are downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."

cyclonedx=$(scripts/tools.sh cargo-cyclonedx)
mkdir -p target/sbom
# Without the crates of tests and of the build on other systems.
CARGO_NET_OFFLINE=${CARGO_NET_OFFLINE:-true} "$cyclonedx" cyclonedx --format json \
    --spec-version 1.5 --target x86_64-unknown-linux-gnu --override-filename larder-sbom
mv larder-sbom.json target/sbom/larder.json
rm -f crates/*/larder-sbom.json
echo "target/sbom/larder.json: $(grep -c '"bom-ref"' target/sbom/larder.json) components"
