#!/usr/bin/env bash
# Tests of node.sh on this machine. Takes down a node that is up, and leaves a fresh one when KEEP_NODE=1.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NODE=$HERE/node.sh
source "$HERE/test-lib.sh"

STATE=/var/lib/greenlang-backup-node
kube() { "$(dirname "$("$NODE" kubeconfig)")/bin/kubectl" --kubeconfig "$("$NODE" kubeconfig)" "$@"; }

# --- a foreign node -------------------------------------------------------------------------------------------------
refuses_foreign() { # FOLDER
  local before after
  mkdir -p "$1/manifests" && echo 'someone else' >"$1/manifests/theirs.yaml"
  before=$(find "$1" -printf '%p %m %T@ %s\n' | sort)
  if "$NODE" up >"$OUT" 2>&1; then return 1; fi
  grep -q "$1 exists and is not ours" "$OUT" || return 1
  "$NODE" down >>"$OUT" 2>&1 || return 1
  after=$(find "$1" -printf '%p %m %T@ %s\n' | sort)
  [[ $before == "$after" && ! -d $STATE ]]
}

# --- what is killed and broken --------------------------------------------------------------------------------------
pids_of() { # NAME-PREFIX: processes of our node only
  local pid
  find /sys/fs/cgroup -path '*/greenlang-backup-node/*' -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | while read -r pid; do
    case $(cat "/proc/$pid/comm" 2>/dev/null) in "$1"*) echo "$pid" ;; esac
  done
}
kill_parts() {
  local name pids
  for name in "$@"; do
    pids=$(pids_of "$name")
    [[ -n $pids ]] || { echo "no process $name to kill"; return 1; }
    # shellcheck disable=SC2086 # one word for each process
    kill -KILL $pids
  done
}
break_everything() {
  kill_parts kubelet containerd etcd kube-apiserver || return 1 # containerd is the prefix of its shims too
  local db=$STATE/etcd/member/snap/db
  truncate --size 20000 "$db" && printf 'broken' | dd of="$db" bs=1 seek=100 conv=notrunc status=none
}
break_image_store() {
  kill_parts kubelet containerd || return 1
  head -c 65536 /dev/urandom | dd of="$CACHE/containerd/io.containerd.metadata.v1.bolt/meta.db" conv=notrunc status=none
}

# --- a Pod under the strictest Pod Security level reaches a Service by name ------------------------------------------
pod_reaches_service() {
  kube delete namespace node-test --ignore-not-found >"$OUT" 2>&1
  kube apply -f "$HERE/testdata/service.yaml" >>"$OUT" 2>&1 || return 1
  kube --namespace node-test wait --for=jsonpath='{.status.phase}'=Succeeded pod/client --timeout=60s >>"$OUT" 2>&1 || return 1
  [[ $(kube --namespace node-test logs client) == "hello from the server" ]] || return 1
  [[ $(kube --namespace node-test get pod client \
    --output 'jsonpath={.status.containerStatuses[0].state.terminated.message}') == "all said" ]]
}
host_reaches_pod() {
  local ip
  ip=$(kube --namespace node-test get pod server --output 'jsonpath={.status.podIP}')
  [[ $(timeout 5 cat <"/dev/tcp/$ip/8080") == "hello from the server" ]]
}
host_reaches_service() {
  local ip
  ip=$(kube --namespace node-test get service server --output 'jsonpath={.spec.clusterIP}')
  [[ $(timeout 5 cat <"/dev/tcp/$ip/8080") == "hello from the server" ]]
}

uid() { kube get namespace kube-system --output 'jsonpath={.metadata.uid}'; }
up() { timed "$NODE" up; }
reused() {
  local before
  before=$(uid) && up && grep -q reused "$OUT" && [[ $(uid) == "$before" ]]
}
replaced() {
  local before=$1
  up && ! grep -q reused "$OUT" && [[ $(uid) != "$before" ]]
}

# Not at a chosen line: after a few seconds of kubeadm it is killed with its children, whatever they were doing.
killed_half_way() {
  local runner
  setsid "$NODE" up >"$OUT" 2>&1 &
  runner=$!
  for _ in {1..300}; do
    ! grep -q 'kubeadm init' "$OUT" || break
    sleep 0.1
  done
  sleep 3
  kill -KILL -- "-$runner" && ! wait "$runner"
}
two_at_once() {
  local first
  "$NODE" up >"$OUT.first" 2>&1 &
  first=$!
  sleep 1
  up && wait "$first" || return 1
  grep -q waiting "$OUT" && grep -q reused "$OUT" && rm "$OUT.first"
}

# --- load --------------------------------------------------------------------------------------------------------------
digest() { ctr --address /run/greenlang-backup-node/containerd.sock --namespace k8s.io images ls | awk '$1 == "localhost/node-test:1" { print $3 }'; }
load() { timed "$NODE" load localhost/node-test 1 "$CONTEXT" "$CONTEXT/Containerfile"; }
load_follows_content() {
  local first second stamp third
  printf 'FROM docker.io/library/debian:trixie-slim\nRUN echo built >/built\nCOPY file /file\n' >"$CONTEXT/Containerfile"
  date +%s%N >"$CONTEXT/file"
  load && first=$(digest) && [[ -n $first ]] || return 1
  stamp=$(find "$CACHE/images" -name 'localhost_node-test_1*' -printf '%p %i %T@\n' | grep -v iid | sort)
  load && second=$(digest) && [[ $second == "$first" ]] || return 1
  grep -q "unchanged" "$OUT" || return 1
  [[ $(find "$CACHE/images" -name 'localhost_node-test_1*' -printf '%p %i %T@\n' | grep -v iid | sort) == "$stamp" ]] || return 1
  date +%s%N >"$CONTEXT/file"
  load && third=$(digest) && [[ $third != "$first" ]]
}

OUT=$(mktemp)
CONTEXT=$(mktemp -d)
trap 'rm -rf "$OUT" "$OUT.first" "$CONTEXT"' EXIT
CACHE=$(dirname "$("$NODE" kubeconfig)")

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
