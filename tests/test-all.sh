#!/usr/bin/env bash
# `make test-all`: `make test`, then what is too slow or too heavy for every change, with one count at the end. Needs 15 GiB of
# disk and builds MinIO once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/environment.sh
source tests/environment.sh
# shellcheck source=tests/steps.sh
source tests/steps.sh

# What succeeds against versitygw in `make test` does so against MinIO. All packages again, so that nothing is compiled anew.
on_minio() {
  export GREENLANG_TEST_S3=minio
  cargo test --locked --workspace --all-features --no-fail-fast --lib --bins --test it --test storage -- --test-threads=2 \
    happy probe real_server unseal read_back
}

# On the node as `make test` has it.
restore_stories() {
  use_cluster dev || return
  cargo test --locked --workspace --all-features --test node_restore_stories -- --ignored --test-threads=2
}

# From charts, definition and image of that time.
upgrade_from_the_old_image() {
  use_cluster dev || return
  OLD_IMAGE=$(tests/old-image.sh) || return
  export OLD_IMAGE
  cargo test --locked --workspace --all-features --test node_upgrade -- --ignored
}

# What breaks the node, or makes it anew, and what outlives that. One after the other: the node is everybody's.
on_a_node_that_fails() { # PROGRAM
  use_cluster dev || return
  cargo test --locked --workspace --all-features --test "$1" -- --ignored --test-threads=1
}

# What needs the node comes first, so that nothing else is measured beside it.
heavy_steps_on_the_node() {
  step "stories of restores" restore_stories || true
  if own_cluster; then
    not_run+=("the upgrade from the image of the first slice: ALLOW_CLUSTER names a cluster of your own")
    not_run+=("restores while the node fails, and in an empty cluster: ALLOW_CLUSTER names a cluster of your own")
  else
    step "upgrade from the old image" upgrade_from_the_old_image || true
    step "restores while the node fails" on_a_node_that_fails node_restore_faults || true
    step "restore in an empty cluster" on_a_node_that_fails node_restore_empty_cluster || true
  fi
  step "release build" make --no-print-directory build-bench || return
  step "bench of restores, short" tests/bench-restore.sh --smoke --rounds 1 --megabytes 20 || true
}

# Every figure of a bench must come out; those that depend on time are judged by `make bench` only, at their full length.
heavy_steps() {
  local is_built=true
  heavy_steps_on_the_node || is_built=false
  step "take the node down again" take_node_down || true
  if step minio tests/cluster/node.sh program minio; then step "tests on MinIO" on_minio || true; fi
  $is_built || return
  step "heavy tests" "$CARGO_TARGET_DIR/release/heavy" || true
  step "bench, short" "$CARGO_TARGET_DIR/release/bench" --smoke --rounds 1 --megabytes 20 --memory-megabytes 500 2000 || true
  step "bench of the control plane, short" "$CARGO_TARGET_DIR/release/bench-control" --smoke --policies 100 --due 20 --settle-minutes 3 || true
}

logs_in test-all
usual_steps
heavy_steps || true
finish
