# shellcheck shell=bash
# The Debian base image, made by debootstrap from the machine's own mirrors, under the name that Containerfiles use.

BASE_IMAGE=docker.io/library/debian:$DEBIAN_SUITE-slim
ROOTFS=$CACHE/rootfs

# The mirror that apt uses here: nothing else may be reachable.
# shellcheck disable=SC2016 # apt-get expands these
mirror() { # SUITE-PATTERN
  apt-get indextargets --format '$(SITE) $(RELEASE) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
    awk -v suite="$1" '$2 ~ suite && $3 == "Debian" && $4 == "main" { print $1; exit }'
}

debian_mirrors() {
  local codename
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  MIRROR=${GREENLANG_DEBIAN_MIRROR:-$(mirror "^$codename\$")}
  SECURITY_MIRROR=${GREENLANG_DEBIAN_SECURITY_MIRROR:-$(mirror "^$codename-security\$")}
  [[ -n $MIRROR ]] || die "no Debian mirror in apt's configuration: set GREENLANG_DEBIAN_MIRROR (and GREENLANG_DEBIAN_SECURITY_MIRROR)"
}

# In the place and form of the official image, so that the same Containerfiles work on both.
debian_sources() {
  local keys=/usr/share/keyrings/debian-archive-keyring.pgp
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$MIRROR" "$DEBIAN_SUITE $DEBIAN_SUITE-updates" $keys
  [[ -z $SECURITY_MIRROR ]] ||
    printf '\nTypes: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$SECURITY_MIRROR" "$DEBIAN_SUITE-security" $keys
}

base_key() { { debian_sources; cat "$HERE/lib/base.sh"; } | sha256sum | cut -c1-32; }

ensure_base() {
  debian_mirrors
  key_is "$ROOTFS/base.key" "$(base_key)" && return
  say "Debian $DEBIAN_SUITE base by debootstrap (log: $LOGS/debootstrap.log)"
  logged debootstrap make_base
}

make_base() {
  local new=$CACHE/tmp/base
  unmount_under "$CACHE/tmp" # debootstrap mounts /proc in it, and may have been killed
  rm -rf --one-file-system "$new"
  mkdir -p "$new" "$ROOTFS"
  debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$DEBIAN_SUITE" "$new" "$MIRROR"
  unmount_under "$new"
  rm -f "$new/etc/apt/sources.list"
  debian_sources >"$new/etc/apt/sources.list.d/debian.sources"
  printf 'path-exclude /usr/share/%s\n' 'doc/*' 'man/*' 'info/*' 'locale/*' >"$new/etc/dpkg/dpkg.cfg.d/docker"
  printf 'APT::Install-Suggests "0";\nAPT::AutoRemove::SuggestsImportant "false";\nAcquire::Languages "none";\n' \
    >"$new/etc/apt/apt.conf.d/docker"
  # Nothing may start services in a container build.
  printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
  chmod 0755 "$new/usr/sbin/policy-rc.d"
  : >"$new/etc/resolv.conf"
  : >"$new/etc/hostname"
  rm -rf "$new"/usr/share/{doc,man,info,locale}/* "$new"/var/lib/apt/lists/* "$new"/var/cache/apt/*.bin \
    "$new"/var/cache/apt/archives/*.deb "$new"/var/log/*.log "$new"/var/log/apt/*
  rm -f "$ROOTFS/base.key"
  tar --create --file "$ROOTFS/base.tar.new" --numeric-owner --one-file-system --exclude='./dev/*' --directory "$new" .
  mv -f "$ROOTFS/base.tar.new" "$ROOTFS/base.tar"
  printf 'FROM scratch\nADD base.tar /\nENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nCMD ["bash"]\n' \
    >"$ROOTFS/Containerfile"
  base_key >"$ROOTFS/base.key"
  rm -rf --one-file-system "$new"
}
