#!/usr/bin/env bash
# The local Kubernetes node for tests and the demo: see README.md beside this file.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in common packages programs base images runtime host clean kube faults snapshot; do
  # shellcheck source=/dev/null
  source "$HERE/lib/$part.sh"
done

usage() {
  cat <<EOF
usage: tests/cluster/node.sh COMMAND

  up          make the node, mend it, or reuse it when it is healthy
  down        remove it and all that it changed on the machine (the cache stays)
  status      say whether it is up; exit code 0 when it is healthy
  kubeconfig  print the path of the kubeconfig
  programs    build the programs that node and tests need (Kubernetes, helm, an S3 server) and stop there
  program NAME...
              build these programs only: versitygw, minio (for tests/test-all.sh, not among those of 'programs')
  images      build the images of the tests and load them into the node
  load NAME TAG CONTEXT CONTAINERFILE [BUILD OPTION...]
              build an image and load it into the node, when it changed
  stop api-server|kubelet|all
              let a part of the node fail: the API server hangs, the kubelet ends, or everything ends at once as by a loss of power
  start       start again what 'stop' stopped; ends once the node is ready
  snapshot    list what a node could leave behind on this machine
EOF
}

need_node() { containerd_answers >/dev/null 2>&1 || die "no node is running: use '$HERE/node.sh up'"; }

up() {
  take_lock
  refuse_foreign_node
  refuse_other_cache
  ensure_packages
  ensure_programs
  ensure_node_images
  if healthy; then
    say "the node is up and healthy: reused"
  else
    replace_node
  fi
  say "ready: kubeconfig $KUBECONFIG_FILE, context $NODE_NAME, Kubernetes $KUBERNETES_VERSION"
}

replace_node() {
  [[ ! -d $STATE ]] || say "removing what an earlier node left"
  mkdir -p "$STATE"
  remember_machine
  logged remove remove_node
  echo "$CACHE" >"$STATE/cache"
  claim
  ensure_runtime
  import_images "${NODE_IMAGES[@]}"
  start_kubernetes
  node_key >"$STATE/key"
}

down() {
  take_lock
  logged remove remove_node
  logged give-back give_back_machine
  rm -f "$LOCK"
  say "the node is down; the cache stays in $CACHE"
}

status() {
  NODE_IMAGES=()
  if [[ ! -d $STATE ]]; then
    echo "down"
    return 1
  fi
  if wait_for 3 system_ready; then
    echo "up: Kubernetes $KUBERNETES_VERSION, kubeconfig $KUBECONFIG_FILE"
  else
    echo "not healthy: 'up' replaces it, 'down' removes it"
    return 1
  fi
}

programs() {
  take_lock
  ensure_packages
  ensure_programs
}

program() {
  local name
  take_lock
  for name in "$@"; do ensure_program "$name"; done
}

images() {
  take_lock
  need_node
  ensure_programs
  ensure_node_images
  ensure_test_images
  import_images "${TEST_IMAGES[@]}"
}

load() {
  (($# >= 4)) || { usage >&2; exit 2; }
  local image=$1:$2 context=$3 file=$4
  shift 4
  take_lock
  need_node
  logged "image-${image//[\/:]/_}" build_image "$image" "$context" "$file" "$@"
  import_images "$image"
  if ((IMPORTED)); then say "$image is in the node"; else say "$image is in the node already, unchanged"; fi
}

stop() {
  take_lock
  need_node
  logged stop let_fail "$1"
}

start() {
  take_lock
  [[ -s $STATE/key ]] || die "there is no node to start: use '$HERE/node.sh up'"
  logged start start_stopped
}

case ${1:-} in
  up | down | status | programs | images | start | snapshot) (($# == 1)) || { usage >&2; exit 2; }; "$1" ;;
  program) (($# >= 2)) || { usage >&2; exit 2; }; shift; program "$@" ;;
  load) shift; load "$@" ;;
  stop) [[ $# == 2 && $2 =~ ^(api-server|kubelet|all)$ ]] || { usage >&2; exit 2; }; stop "$2" ;;
  kubeconfig) echo "$KUBECONFIG_FILE" ;;
  forget-containers) logged forget-containers forget_containers ;; # used by `up`, which holds the lock
  *) usage >&2; exit 2 ;;
esac
