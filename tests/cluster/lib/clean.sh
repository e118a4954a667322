# shellcheck shell=bash
# Removing a node in whatever state it is: by what it owns, never by asking its parts, which may be broken.

unmount_under() { # FOLDER
  local point
  # The newest first; the kernel writes a space and the like in octal.
  awk '{ print $5 }' /proc/self/mountinfo | tac | while read -r point; do
    point=$(printf '%b' "$point")
    [[ $point == "$1" || $point == "$1"/* ]] || continue
    umount "$point" 2>/dev/null || umount --lazy "$point"
  done
}

is_ours() { [[ -e $1/$MARKER ]]; }

# Before anything is touched: a node of someone else on this machine would be destroyed by ours.
refuse_foreign_node() {
  local folder
  for folder in "${CLAIMED[@]}"; do
    if [[ -e $folder || -L $folder ]] && ! is_ours "$folder"; then
      die "$folder exists and is not ours (it has no $MARKER): this machine seems to be a Kubernetes node already. Nothing was changed. Use that cluster by KUBECONFIG, or remove the folder yourself"
    fi
  done
  [[ -d $STATE ]] || ! command -v iptables-nft >/dev/null || ! iptables-nft -t nat -S KUBE-SERVICES >/dev/null 2>&1 ||
    die "the firewall has Kubernetes' chains and they are not ours: this machine seems to be a Kubernetes node already. Nothing was changed"
}

# A machine has one node: one made with another cache, and alive, is in somebody's use.
refuse_other_cache() {
  [[ -s $STATE/cache && $(<"$STATE/cache") != "$CACHE" ]] || return 0
  ! curl --silent --insecure --fail --max-time 5 "https://$NODE_IP:6443/readyz" >/dev/null 2>&1 ||
    die "a node is up that was made with another cache. Nothing was changed. Use it by GREENLANG_CACHE=$(<"$STATE/cache"), or take it down first"
}

# The marker arrives and leaves together with the folder, so that a run killed at any line leaves nothing that looks foreign.
claim() {
  local folder
  for folder in "${CLAIMED[@]}"; do
    rm -rf "$folder.$OWNER"
    mkdir -p "$folder.$OWNER"
    echo "Made and deleted by tests/cluster/node.sh of greenlang-backup." >"$folder.$OWNER/$MARKER"
    mv -T "$folder.$OWNER" "$folder"
  done
}

unclaim() {
  local folder
  for folder in "${CLAIMED[@]}"; do
    if is_ours "$folder"; then
      unmount_under "$folder"
      rm -rf --one-file-system "$folder.$OWNER"
      mv -T "$folder" "$folder.$OWNER"
    fi
    rm -rf --one-file-system "$folder.$OWNER"
  done
}

remove_links() {
  local link
  if ip link show "$BRIDGE" >/dev/null 2>&1; then
    ip -o link show master "$BRIDGE" | awk -F': ' '{ sub(/@.*/, "", $2); print $2 }' | while read -r link; do
      ip link del "$link" || true # it may be going by itself, with its namespace
    done
    ip link del "$BRIDGE"
  fi
}

remove_cgroups() {
  local root
  while read -r root; do
    [[ -d $root/$OWNER ]] || continue
    wait_for 10 remove_tree "$root/$OWNER" || die "cannot remove the cgroup $root/$OWNER"
  done < <(cgroup_roots)
}
remove_tree() { find "$1" -depth -type d -exec rmdir {} +; }

# What containerd, its shims and the CNI library put at places that cannot be configured.
remove_strays() {
  local socket file
  # Results of the CNI library: those of ours name a network namespace in our folder.
  for file in /var/lib/cni/results/*; do
    [[ ! -f $file ]] || ! grep -qF "$RUN/" "$file" || rm -f "$file"
  done
  find /var/log/containers -maxdepth 1 -type l -lname "$STATE/*" -delete 2>/dev/null || true
  # Sockets of shims that were killed: those that no process has open.
  for socket in /run/containerd/s/*; do
    [[ ! -S $socket ]] || grep -qF "$socket" /proc/net/unix || rm -f "$socket"
  done
}

# Everything but what only `down` gives back to the machine (settings of the kernel, folders that were not there).
remove_node() {
  kill_processes
  remove_links
  unmount_under "$RUN"
  unmount_under "$STATE"
  # Not the cache itself, which may be a volume of the user's.
  unmount_under "$CACHE/containerd"
  unmount_under "$CACHE/buildah"
  unmount_under "$CACHE/tmp"
  unclaim
  remove_firewall
  remove_cgroups
  # It would point to a node that is gone, also where another cache was used.
  [[ ! -s $STATE/cache ]] || rm -f "$(<"$STATE/cache")/kubeconfig"
  rm -f "$KUBECONFIG_FILE"
  rm -rf --one-file-system "$RUN" "$STATE"/{etcd,pod-logs,cni,addresses,volume-plugins,opt,resolv.conf,key,cache}
  remove_strays
}
