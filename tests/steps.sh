# shellcheck shell=bash
# Sourced by test.sh and test-all.sh: steps, their logs and one count of all tests; and the steps that both run.
failed_steps=() not_run=()
began=$SECONDS

# logs_in NAME: where the logs of this run go.
logs_in() {
  logs=$GREENLANG_CACHE/logs/$1
  rm -rf "$logs" && mkdir -p "$logs"
}

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

take_node_down() {
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

# What `make test` checks; the node is down again afterwards.
usual_steps() {
  run_usual_steps || true
  step "take the node down" take_node_down || true
  echo "=== the usual steps took $((SECONDS - began)) s"
}

# A step whose failure leaves nothing to do for those after it.
stop_after() {
  not_run+=("all that follows the step '$1', because it failed")
  return 1
}

run_usual_steps() {
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
