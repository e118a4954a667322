#!/usr/bin/env bash
# The last part of `make bench`, which has built it: sets up whatever is missing, then measures restores on the local node, which stays up.
# Arguments are options of the bench.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/environment.sh
source tests/environment.sh
# Refused before anything is installed on this machine.
! own_cluster || check_own_cluster
tests/setup.sh
use_cluster release
exec "$CARGO_TARGET_DIR/release/bench-restore" "$@"
