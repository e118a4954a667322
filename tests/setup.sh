#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, if any is missing. Needs root for that only.
set -euo pipefail
packages=("$@")
[[ ${#packages[@]} -gt 0 ]] || packages=(gcc libc6-dev make python3-venv shellcheck jq age zstd npm postgresql awscli openssl pgbouncer faketime)

missing=()
for package in "${packages[@]}"; do
  case $package in
    npm) command -v npm >/dev/null || missing+=(npm) ;;
    *) dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package") ;;
  esac
done
[[ ${#missing[@]} -gt 0 ]] || exit 0
# The tests start servers of their own; the package need not start one on this machine.
if [[ " ${missing[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
  mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
echo "installing ${missing[*]}"
log=$(mktemp)
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  echo "error: could not install ${missing[*]}; the log is $log" >&2
  exit 1
fi
rm -f "$log"
