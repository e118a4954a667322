# shellcheck shell=bash
# Our containerd, and the cgroup that holds every process of the node.

ctrd() { ctr --address "$SOCKET" --namespace k8s.io "$@"; }

# The roots of all cgroup hierarchies: one with version 2, several with version 1.
cgroup_roots() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo /sys/fs/cgroup
  else
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | sort -u
  fi
}

# The daemons need only be found again, so with version 1 they join the one hierarchy that limits nothing else.
daemon_cgroup() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then echo "/sys/fs/cgroup/$OWNER/daemons"; else echo "/sys/fs/cgroup/pids/$OWNER/daemons"; fi
}

make_cgroups() {
  local root
  # The kubelet wants its cgroup root to exist in each hierarchy.
  while read -r root; do mkdir -p "$root/$OWNER"; done < <(cgroup_roots)
  mkdir -p "$(daemon_cgroup)"
}

join_cgroup() { echo "$BASHPID" >"$(daemon_cgroup)/cgroup.procs"; }

our_processes() {
  local root
  while read -r root; do
    [[ ! -d $root/$OWNER ]] || find "$root/$OWNER" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done < <(cgroup_roots) | sort -nu
}

# Ours by name of the program: our_named containerd-shim
our_named() {
  local pid
  for pid in $(our_processes); do
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) != "$1"* ]] || echo "$pid"
  done
}

kill_processes() {
  local tries pids
  for ((tries = 0; tries < 100; tries++)); do
    pids=$(our_processes)
    [[ -n $pids ]] || return 0
    # shellcheck disable=SC2086 # one word for each process
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  die "these processes of the node do not end: $(tr '\n' ' ' <<<"$pids")"
}

render() { # TEMPLATE [DISABLED-CONTAINERD-PLUGINS]
  local name text
  text=$(<"$HERE/config/$1")
  local DISABLED=${2:-}
  for name in CACHE RUN STATE SOCKET OWNER BRIDGE MTU NODE_NAME NODE_IP NODE_SUBNET POD_SUBNET SERVICE_SUBNET DISABLED \
    PAUSE_TAG KUBERNETES_VERSION COREDNS_VERSION ETCD_VERSION; do
    text=${text//@$name@/${!name}}
  done
  printf '%s\n' "$text"
}

containerd_answers() { ctrd version && ctrd images ls -q; }

# One that cannot read its store ends, or serves all but its images: no use to wait then.
containerd_decided() { ctrd version || [[ -z $(our_named containerd) ]]; }

start_containerd() { # [DISABLED-PLUGINS]
  mkdir -p "$RUN" "$STATE" "$CACHE/containerd"
  make_cgroups
  render containerd.toml "${1:-}" >"$RUN/containerd.toml"
  spawn containerd containerd --config "$RUN/containerd.toml"
  wait_for 30 containerd_decided
  containerd_answers
}

# Records of containers that are gone would come back to life in the CRI plugin, so they are deleted while it is off.
forget_containers() {
  start_containerd '"io.containerd.grpc.v1.cri"'
  local ids
  mapfile -t ids < <(ctrd containers ls -q)
  ((${#ids[@]} == 0)) || ctrd containers rm "${ids[@]}"
  kill_processes
  unmount_under "$RUN"
  rm -rf "$RUN/containerd"
}

# After this our containerd runs and knows images, but no container.
ensure_runtime() {
  say "containerd"
  # A store broken by a crash is not worth a repair: the images are in the cache.
  # In a child of its own, so that its failure is seen here and yet ends it at its first failing command.
  if [[ -d $CACHE/containerd ]] && ! "$HERE/node.sh" forget-containers 9>&-; then
    say "containerd's store is broken: starting with an empty one"
    kill_processes
    unmount_under "$CACHE/containerd"
    unmount_under "$RUN"
    rm -rf --one-file-system "$CACHE/containerd" "$RUN/containerd"
  fi
  logged containerd-start start_containerd
}
