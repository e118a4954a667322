#!/usr/bin/env bash
# Tests of the choice of a cluster (tests/environment.sh), without any cluster: which one is refused, which one is used, and
# that for a cluster of the user's own nothing of the local node is started, built or taken down.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$HERE/test-lib.sh"
OUT=$(mktemp)
WORK=$(mktemp -d)
trap 'rm -rf "$OUT" "$WORK"' EXIT

# A checkout whose node.sh and image.sh only note that they were called, and whose kubectl needs no server for what is asked.
mkdir -p "$WORK/tests/cluster" "$WORK/bin"
cp "$HERE/../environment.sh" "$HERE/../steps.sh" "$HERE/../demo.sh" "$HERE/../test.sh" "$WORK/tests/"
for script in tests/cluster/node.sh tests/image.sh tests/setup.sh bin/cargo bin/make bin/helm; do
  # shellcheck disable=SC2016 # expanded when it runs
  printf '#!/bin/sh\necho "%s $*" >>"%s/called"\n' "$script" "$WORK" >"$WORK/$script"
  chmod +x "$WORK/$script"
done
# shellcheck disable=SC2016
printf '#!/bin/sh\n[ "$*" = "config current-context" ] && sed -n "s/^current-context: //p" "$KUBECONFIG"\n' >"$WORK/bin/kubectl"
chmod +x "$WORK/bin/kubectl"
printf 'current-context: theirs\n' >"$WORK/kubeconfig"

# Runs a script of that checkout with these variables and nothing else of ours.
with() { # SCRIPT VARIABLE=VALUE...
  local script=$1
  shift
  rm -f "$WORK/called"
  (cd "$WORK" && env -i PATH="$WORK/bin:/usr/bin:/bin" HOME="$WORK" GREENLANG_CACHE="$WORK/cache" KUBECONFIG="$WORK/kubeconfig" "$@" \
    bash -c "$script") >"$OUT" 2>&1
}
refused() { # WORDS SCRIPT VARIABLE=VALUE...
  local words=$1 code=0
  shift
  with "$@" || code=$?
  ((code == 2)) && grep -q -- "$words" "$OUT" && [[ ! -e $WORK/called ]]
}
# shellcheck disable=SC2016
use='source tests/environment.sh && use_cluster dev && echo "uses $KUBECONFIG $IMAGE"'
uses_theirs() {
  with "$use" ALLOW_CLUSTER=theirs IMAGE=registry:5000/operator:1 &&
    grep -qx "uses $WORK/kubeconfig registry:5000/operator:1" "$OUT" && [[ ! -e $WORK/called ]]
}
uses_local() {
  with "$use" && grep -q '^tests/cluster/node.sh up' "$WORK/called" && grep -q '^tests/image.sh dev' "$WORK/called"
}
# What follows the choice fails here, because this checkout has no programs; what it calls is what counts.
leaves_the_node_alone() { # SCRIPT
  with "$1" ALLOW_CLUSTER=theirs IMAGE=operator:1 || true
  [[ -s $WORK/called ]] && ! grep -E '^tests/(image.sh|cluster/node.sh (up|images|load|down))' "$WORK/called"
}

for script in "$use" tests/demo.sh tests/test.sh; do
  check "another context is refused: ${script%% *}" refused "current context of KUBECONFIG is 'theirs'" "$script" \
    ALLOW_CLUSTER=other IMAGE=operator:1
  check "no IMAGE is refused: ${script%% *}" refused "IMAGE must name" "$script" ALLOW_CLUSTER=theirs
  check "an IMAGE without tag is refused: ${script%% *}" refused "IMAGE must name" "$script" ALLOW_CLUSTER=theirs \
    IMAGE=registry:5000/operator
done
check "the cluster that was allowed is used as it is" uses_theirs
for script in tests/demo.sh tests/test.sh; do
  check "$script leaves the local node alone then" leaves_the_node_alone "$script"
done
check "without ALLOW_CLUSTER it is the local node" uses_local
summary
