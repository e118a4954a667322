# shellcheck shell=bash
# The Debian packages that the node stands on. Only what is missing is installed.

# What must be there, and the package that brings it.
NEEDED=(
  containerd:containerd ctr:containerd containerd-shim-runc-v2:containerd runc:runc
  /usr/lib/cni/bridge:containernetworking-plugins
  iptables-nft:iptables conntrack:conntrack ebtables:ebtables ip:iproute2 nft:nftables
  buildah:buildah debootstrap:debootstrap
  /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
  zstd:zstd age:age jq:jq psql:postgresql-client curl:curl openssl:openssl
)

missing_packages() {
  local pair
  for pair in "${NEEDED[@]}"; do
    if [[ $pair == /* ]]; then
      [[ -e ${pair%%:*} ]] || echo "${pair##*:}"
    else
      command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    fi
  done | sort -u
}

ensure_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "these Debian packages are missing and there is no apt-get: ${missing[*]}"
  say "Debian packages: ${missing[*]}"
  logged packages install_packages "${missing[@]}"
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update
  apt-get install -y --no-install-recommends "$@"
}
