#!/usr/bin/env bash
# Tests the client libraries together: the table of what they do, values that one writes and the
# others read, a stampede, an outage of 45 s, full speed through restarts, the example applications,
# and all languages at once.
#
#   clients/fleet/test.sh         all checks
#   clients/fleet/test.sh soak    one of them
#
# LARDER_BIN is the server. The set-ups of the languages must have been run: `clients/test.sh --setup`.
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"

readonly here=$clients/fleet
export PYTHON=$INSTALLED/python-venv/bin/python

check_matrix() {
    "$clients/conformance/matrix.sh"
    echo "the languages read each other's values"
}

check_stampede() { "$here/stampede.sh"; }

check_outage() { "$here/outage.sh"; }

check_features() { "$clients/conformance/table.py" --check; }

check_soak() { "$here/soak.sh" TIME=60s; }

check_applications() { "$repository/examples/apps/run.sh" --quick; }

check_polyglot() { "$here/polyglot.sh"; }

case ${1-} in
--setup) "$here/polyglot.sh" --setup ;;
'')
    code=0
    run_lanes fleet "features outage stampede matrix" "applications soak" || code=1
    # By itself, because it measures delays.
    run_lanes fleet polyglot || code=1
    exit "$code"
    ;;
*) run_lanes fleet "$*" ;;
esac
