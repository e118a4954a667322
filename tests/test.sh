#!/usr/bin/env bash
# `make test`: everything that checks the project, with one count at the end. Takes the local node down, also on failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/environment.sh
source tests/environment.sh
logs=$GREENLANG_CACHE/logs/test
rm -rf "$logs" && mkdir -p "$logs"
failed_steps=() not_run=()
began=$SECONDS

# step NAME COMMAND...: runs it, shows its output, remembers whether it failed.
step() {
  local name=$1 start=$SECONDS
  shift
  echo "=== $name"
  if "$@" 2>&1 | tee "$logs/${name// /-}.log"; then
    echo "=== $name: done in $((SECONDS - start)) s"
  else
    echo "=== $name: FAILED after $((SECONDS - start)) s"
    failed_steps+=("$name")
    return 1
  fi
}

# Adds up the closing lines of cargo's and of our scripts' tests: passed, failed, ignored.
count() {
  cat "$logs"/*.log | awk '
    /^test result: / { passed += $4; failed += $6; ignored += $8 }
    /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3 }
    END { printf "%d %d %d\n", passed, failed, ignored }'
}

# The local node is ours to break, to take down and to compare the machine before and after; what a demo left on it goes.
node_itself() {
  TAKE_NODE=1 KEEP_NODE=1 tests/cluster/test-node.sh
}

clean_up() {
  own_cluster || tests/cluster/node.sh down
}

finish() {
  local passed failed ignored
  read -r passed failed ignored < <(count)
  echo "=== took $((SECONDS - began)) s; logs in $logs"
  for reason in ${not_run[@]+"${not_run[@]}"}; do echo "not run: $reason"; done
  for name in ${failed_steps[@]+"${failed_steps[@]}"}; do echo "failed step: $name"; done
  # A step that broke before its tests could count is a failure too.
  [[ $failed -gt 0 ]] || failed=${#failed_steps[@]}
  echo "$passed passed, $failed failed, $ignored skipped"
  [[ $failed -eq 0 && ${#failed_steps[@]} -eq 0 && $passed -gt 0 ]]
}

# A step whose failure leaves nothing to do for those after it.
stop_after() {
  not_run+=("all that follows the step '$1', because it failed")
  return 1
}

run() {
  ! own_cluster || check_own_cluster
  step setup tests/setup.sh || stop_after setup || return
  step lint make --no-print-directory lint || true
  step "own cluster" tests/cluster/test-own-cluster.sh || true
  if own_cluster; then
    not_run+=("the tests of the local node itself: ALLOW_CLUSTER names a cluster of your own")
    # The runner's tests need its S3 server all the same, on this machine.
    step programs tests/cluster/node.sh programs || stop_after programs || return
  else
    step "local node" node_itself || stop_after "local node" || return
  fi
  step "cluster and image" use_cluster_logged || stop_after "cluster and image" || return
  # shellcheck source=/dev/null
  source "$logs/environment"
  own_cluster || step images tests/cluster/test-images.sh || true
  # All packages at once, whatever needs a cluster or not: cargo then builds every dependency in one set of features.
  step tests cargo test --locked --workspace --all-features --no-fail-fast -- --test-threads=2 || true
}

# A step runs behind a pipe, so what it exports is handed over in a file.
use_cluster_logged() {
  use_cluster dev || return
  printf 'export KUBECONFIG=%q IMAGE=%q\n' "$KUBECONFIG" "$IMAGE" >"$logs/environment"
}

run || true
step "take the node down" clean_up || true
finish
