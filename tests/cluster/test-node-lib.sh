# shellcheck shell=bash
# The checks of test-node.sh; each returns whether the node behaves.

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

# --- a node that is in use --------------------------------------------------------------------------------
refuses_other_cache() {
  local before
  before=$(uid)
  if GREENLANG_CACHE=$CONTEXT/other "$NODE" up >"$OUT" 2>&1; then return 1; fi
  grep -q 'made with another cache' "$OUT" && [[ $(uid) == "$before" ]]
}
