# shellcheck shell=bash
# What the node changes on the machine outside of its own folders: kernel settings, firewall, a few folders. What was there
# before is kept in $STATE/before and given back by `down`.

SETTINGS=(
  net/ipv4/ip_forward net/ipv6/conf/all/forwarding net/ipv4/conf/all/route_localnet
  net/bridge/bridge-nf-call-iptables net/bridge/bridge-nf-call-ip6tables
  net/netfilter/nf_conntrack_max net/netfilter/nf_conntrack_tcp_be_liberal
  net/netfilter/nf_conntrack_tcp_timeout_established net/netfilter/nf_conntrack_tcp_timeout_close_wait
  vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes
)
# Made by the kubelet, the runtime or a hostPath volume when missing; removed again when they were missing and are empty.
SHARED_PATHS=(
  /lib/modules /run/xtables.lock /run/containerd /opt/cni /opt/containerd /etc/cni /var/lib/cni
  /var/log/pods /var/log/containers /usr/libexec/kubernetes
)
TABLES=(nat filter mangle raw)
COMMENT=$OWNER

settings() {
  local name
  for name in "${SETTINGS[@]}"; do
    [[ ! -r /proc/sys/$name ]] || echo "$name $(<"/proc/sys/$name")"
  done
}

nft_tables() { nft list tables 2>/dev/null | sort || true; }

# Once, before the first change; a later `up` over the rest of a crashed node must not take that rest for the machine's own.
remember_machine() {
  local new=$STATE/before.new path
  [[ ! -d $STATE/before ]] || return 0
  rm -rf "$new"
  mkdir -p "$new"
  settings >"$new/settings"
  nft_tables >"$new/tables"
  for path in "${SHARED_PATHS[@]}"; do [[ -e $path ]] || echo "$path"; done >"$new/absent"
  mv -T "$new" "$STATE/before"
}

give_back_machine() {
  local name value path table
  if [[ -d $STATE/before ]]; then
    while read -r name value; do
      [[ $(<"/proc/sys/$name") == "$value" ]] || echo "$value" >"/proc/sys/$name"
    done <"$STATE/before/settings"
    # iptables makes a table at its first use and cannot delete one.
    nft_tables | comm -13 "$STATE/before/tables" - | while read -r _ table; do
      # Only when nothing but empty chains is in it: someone else may have come to use it.
      # shellcheck disable=SC2086 # family and name
      nft list table $table | grep -qvE '^(table .*|[[:space:]]*(chain .*|type .* hook .*|\})?)$' || nft delete table $table
    done
    while read -r path; do
      if [[ -f $path && ! -s $path ]]; then rm -f "$path"; fi
      [[ ! -d $path ]] || find "$path" -depth -type d -empty -delete
    done <"$STATE/before/absent"
  fi
  rm -rf "$STATE"
}

prepare_network() {
  modprobe --quiet --all br_netfilter overlay 2>/dev/null || true # built in, or not there: seen by the next line
  [[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]] || die "the kernel lacks br_netfilter, which Services need"
  echo 1 >/proc/sys/net/ipv4/ip_forward
  echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
  MTU=$(ip -o route get 192.0.2.254 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
  MTU=$(cat "/sys/class/net/${MTU:-lo}/mtu")
  ((MTU <= 1500)) || MTU=1500
  ip link add "$BRIDGE" mtu "$MTU" type bridge
  ip address add "$NODE_IP/${NODE_SUBNET#*/}" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  # So that the machine itself reaches Services, with or without a default route.
  ip route add "$SERVICE_SUBNET" dev "$BRIDGE" src "$NODE_IP"
  # Whatever the machine's policy is, Docker's for example, traffic of Pods passes.
  iptables-nft -w -I FORWARD -i "$BRIDGE" -m comment --comment "$COMMENT" -j ACCEPT
  iptables-nft -w -I FORWARD -o "$BRIDGE" -m comment --comment "$COMMENT" -j ACCEPT
  iptables-nft -w -I INPUT -i "$BRIDGE" -m comment --comment "$COMMENT" -j ACCEPT
  iptables-nft -w -t nat -A POSTROUTING -s "$POD_SUBNET" ! -d "$POD_SUBNET" -m comment --comment "$COMMENT" -j MASQUERADE
}

# All chains KUBE-*, the jumps to them, and our own rules; in one transaction for each table.
remove_firewall() {
  local family table
  # Without our folder no rule can be ours, and chains of this name belong to a foreign node.
  [[ -d $STATE ]] && command -v iptables-nft >/dev/null || return 0
  for family in iptables ip6tables; do
    for table in "${TABLES[@]}"; do
      "$family-nft-save" -t "$table" 2>/dev/null | firewall_removal "$table" | "$family-nft-restore" -w --noflush
    done
  done
}

firewall_removal() { # TABLE
  awk -v table="$1" -v comment="$COMMENT" '
    /^:KUBE-/ { chain[++chains] = substr($1, 2) }
    /^-A/ && $2 !~ /^KUBE-/ && (/ -j KUBE-/ || index($0, "--comment " comment " ") || index($0, "--comment \"" comment "\" ")) {
      sub(/^-A/, "-D"); rule[++rules] = $0
    }
    END {
      if (!chains && !rules) exit
      print "*" table
      for (i = 1; i <= chains; i++) print ":" chain[i] " - [0:0]"
      for (i = 1; i <= rules; i++) print rule[i]
      for (i = 1; i <= chains; i++) print "-X " chain[i]
      print "COMMIT"
    }'
}
