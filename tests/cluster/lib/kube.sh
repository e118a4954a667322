# shellcheck shell=bash
# Kubernetes itself: kubeadm, the kubelet beside it, and the wait until it all works.

kube() { KUBECACHEDIR=$CACHE/tmp/kubectl "$BIN/kubectl" --kubeconfig "${KUBE:-$KUBECONFIG_FILE}" --request-timeout 5s "$@"; }

# The node is replaced when it was made from anything else than what is here now. Images of tests are not part of it.
node_key() {
  local image
  {
    hash_of "$HERE/config" "$HERE/versions.env" "$HERE"/lib/{host,kube,runtime}.sh
    programs_key
    for image in "${NODE_IMAGES[@]}"; do cat "$(archive_of "$image").digest"; done
    echo "$CACHE"
  } | sha256sum | cut -c1-32
}

# A kubelet that runs but lost its containers says Ready for a while, so each Pod's shim is counted too.
healthy() {
  key_is "$STATE/key" "$(node_key)" && [[ -s $KUBECONFIG_FILE ]] || return 1
  containerd_answers >/dev/null 2>&1 || return 1
  curl --silent --fail --max-time 3 http://127.0.0.1:10248/healthz >/dev/null || return 1
  system_ready >/dev/null 2>&1 || return 1
  local pods shims
  pods=$(kube get pods --namespace kube-system --field-selector status.phase=Running --output name | wc -l)
  shims=$(our_named containerd-shim | wc -l)
  ((pods >= 7 && shims >= pods))
}

# Joined by && because it is called in conditions, where `set -e` says nothing.
system_ready() {
  kube get --raw /readyz &&
    kube get node "$NODE_NAME" --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -qx True &&
    kube get deployment coredns --namespace kube-system --output 'jsonpath={.status.readyReplicas}' | grep -qx 2 &&
    kube get daemonset kube-proxy --namespace kube-system --output 'jsonpath={.status.numberReady}' | grep -qx 1 &&
    kube get serviceaccount default --namespace default
}

# CoreDNS asks these for names outside of the cluster; a loopback address would be its own.
upstream_resolvers() {
  local file found
  for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
    found=$(grep -E '^nameserver' "$file" 2>/dev/null | grep -vE 'nameserver +(127\.|::1)' || true)
    if [[ -n $found ]]; then
      printf '%s\n' "$found"
      return
    fi
  done
  echo "nameserver 192.0.2.53" # none: an address that never answers, for CoreDNS does not start without one
}

start_kubernetes() {
  say "network"
  mkdir -p "$STATE"/{cni,pod-logs,volume-plugins}
  logged network prepare_network
  render network.conflist >"$STATE/cni/10-greenlang.conflist"
  upstream_resolvers >"$STATE/resolv.conf"
  say "kubeadm init"
  render kubeadm.yaml >"$RUN/kubeadm.yaml"
  logged kubeadm init_control_plane
  logged kubeconfig write_kubeconfig
  say "waiting for the node and DNS"
  wait_for 120 system_ready || die "the node did not become ready in 120 s. See '$BIN/kubectl --kubeconfig $KUBECONFIG_FILE get pods -A' and $LOGS/kubelet.log"
}

KUBELET_CONFIG=/var/lib/kubelet/config.yaml
KUBELET_FLAGS=/var/lib/kubelet/kubeadm-flags.env

# As kubeadm configured it, which wrote both files.
start_kubelet() {
  local args
  args=$(sed -n 's/^KUBELET_KUBEADM_ARGS="\(.*\)"$/\1/p' "$KUBELET_FLAGS")
  # shellcheck disable=SC2086 # kubeadm writes words
  spawn kubelet "$BIN/kubelet" --config "$KUBELET_CONFIG" --kubeconfig /etc/kubernetes/kubelet.conf \
    --bootstrap-kubeconfig /etc/kubernetes/bootstrap-kubelet.conf $args
}

# Without systemd kubeadm starts no kubelet and only waits for one: it is started as soon as its files are written.
init_control_plane() {
  local kubeadm waited=0
  # In our cgroup too: should this script be killed, the next one ends it before it makes files again.
  (join_cgroup && PATH=$BIN:$PATH exec "$BIN/kubeadm" init --config "$RUN/kubeadm.yaml" --ignore-preflight-errors all \
    --skip-token-print 9>&-) &
  kubeadm=$!
  until [[ -s $KUBELET_CONFIG && -s $KUBELET_FLAGS && -s /etc/kubernetes/kubelet.conf ]]; do
    kill -0 "$kubeadm" || { wait "$kubeadm"; return 1; }
    ((++waited < 600))
    sleep 0.1
  done
  start_kubelet
  wait "$kubeadm"
}

write_kubeconfig() {
  local KUBE=$KUBECONFIG_FILE.new
  rm -f "$KUBE"
  install -m 0600 /etc/kubernetes/admin.conf "$KUBE"
  kube config rename-context "$(kube config current-context)" "$NODE_NAME"
  mv -f "$KUBE" "$KUBECONFIG_FILE"
}
