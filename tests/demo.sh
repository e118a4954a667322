#!/usr/bin/env bash
# `make demo`: sets up whatever is missing, then runs the demo. Safe to run again; what is there and right is reused.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/environment.sh
source tests/environment.sh
# Refused before anything is installed on this machine.
! own_cluster || check_own_cluster
tests/setup.sh
use_cluster release
# With an image of one's own, nothing has built it yet.
! own_cluster || cargo build --locked --release --package greenlang-backup-tests --bin demo
exec "$CARGO_TARGET_DIR/release/demo"
