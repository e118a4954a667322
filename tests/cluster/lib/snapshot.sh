# shellcheck shell=bash
# A sorted listing of everything that a node could leave behind, to be compared before and after.

# Programs of Pods, etcd and the API server among them, are not listed: tests without a node run some of them too. One that outlives its Pod shows by its cgroup.
PROGRAMS='containerd|containerd-shim.*|kubelet|kubeadm|pause'

snapshot() {
  {
    # Not the dead whom the machine's first process has yet to bury.
    cat /proc/[0-9]*/status 2>/dev/null | awk '/^Name:/ { name = $2 } /^State:/ && $2 != "Z" && $2 != "X" { print name }' |
      grep -xE "$PROGRAMS" | sed 's/^/process /' || true
    awk '{ print "mount " $5 }' /proc/self/mountinfo
    ip -o link | awk -F': ' '{ sub(/@.*/, "", $2); print "interface " $2 }'
    ip -4 route | sed 's/^/route /'
    cgroup_roots | while read -r root; do find "$root" -mindepth 1 -maxdepth 1 -type d -printf "cgroup $root/%f\n"; done
    snapshot_firewall
    settings | sed 's/^/setting /'
    snapshot_paths
  } | LC_ALL=C sort
}

snapshot_firewall() {
  local family table
  command -v iptables-nft >/dev/null || return 0
  for family in iptables ip6tables; do
    for table in "${TABLES[@]}"; do
      "$family-nft-save" -t "$table" 2>/dev/null | sed -E '/^(#|COMMIT)/d; s/\[[0-9:]+\]//' | sed "s/^/$family $table /"
    done
  done
  nft_tables | sed 's/^/nft /'
}

snapshot_paths() {
  local path
  for path in "${CLAIMED[@]}" "${CLAIMED[@]/%/.$OWNER}" "$STATE" "$RUN" "$LOCK" /var/lib/etcd "${SHARED_PATHS[@]}"; do
    [[ ! -e $path ]] || echo "path $path"
  done
  find /etc/cni /opt/cni /opt/containerd /var/lib/cni /run/containerd /run/netns /var/log/pods /var/log/containers \
    /usr/libexec/kubernetes -mindepth 1 2>/dev/null | sed 's/^/path /' || true
}
