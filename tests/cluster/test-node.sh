#!/usr/bin/env bash
# Tests of node.sh on this machine. Takes down a node that is up and not in use, and leaves a fresh one when KEEP_NODE=1.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NODE=$HERE/node.sh
source "$HERE/test-lib.sh"

STATE=/var/lib/greenlang-backup-node
kube() { "$(dirname "$("$NODE" kubeconfig)")/bin/kubectl" --kubeconfig "$("$NODE" kubeconfig)" "$@"; }

source "$HERE/test-node-lib.sh"

OUT=$(mktemp)
CONTEXT=$(mktemp -d)
trap 'rm -rf "$OUT" "$OUT.first" "$CONTEXT"' EXIT
CACHE=$(dirname "$("$NODE" kubeconfig)")

# The node may be in use: tests of the operator hold this lock, and any other work shows as a namespace.
exec 8>>"$CACHE/cluster-user.lock"
flock -n 8 || { echo "test-node.sh: waiting for tests that use the node"; flock 8; }
in_use() { "$NODE" status >/dev/null 2>&1 && kube get namespaces --output name | grep -vE '^namespace/(default|kube-.*|node-test)$'; }
if [[ -z ${TAKE_NODE:-} ]] && in_use; then
  echo "test-node.sh: the node has these namespaces and this test would destroy them. Delete them, or set TAKE_NODE=1"
  exit 1
fi

"$NODE" down >"$OUT" 2>&1 || { cat "$OUT"; exit 1; }
for folder in /etc/kubernetes /var/lib/kubelet; do
  [[ ! -e $folder ]] || { echo "test-node.sh: $folder is there and not ours: not testing on this machine"; exit 1; }
  check "a foreign $folder is refused and stays untouched" refuses_foreign "$folder"
  rm -rf "$folder"
done

check "packages, programs and images are there" timed "$NODE" up
"$NODE" down >/dev/null 2>&1
"$NODE" snapshot >"$CONTEXT/before"
check "up" up
check "a restricted Pod reaches a Service by its DNS name; its log and termination message can be read" pod_reaches_service
check "the machine reaches a Pod" host_reaches_pod
check "the machine reaches a Service" host_reaches_service
check "up on a healthy node is a reuse" reused
check "a node in use is not replaced by one of another cache" refuses_other_cache
check "load follows the content" load_follows_content
before=$(uid)
check "everything killed, etcd's database broken" break_everything
check "up replaces the broken node" replaced "$before"
check "a restricted Pod reaches a Service again" pod_reaches_service
before=$(uid)
check "kubelet, containerd and shims killed, the image store broken" break_image_store
check "up replaces the node and the image store" replaced "$before"
check "down" timed "$NODE" down
check "up, killed half-way" killed_half_way
check "two at once: one waits and takes the other's node" two_at_once
check "down again" timed "$NODE" down
"$NODE" snapshot >"$CONTEXT/after"
check "nothing is left behind" diff "$CONTEXT/before" "$CONTEXT/after"
check "down when nothing is there" timed "$NODE" down
check "still nothing is left behind" diff "$CONTEXT/before" <("$NODE" snapshot)
[[ -z ${KEEP_NODE:-} ]] || check "a fresh node, kept" up
summary
