# shellcheck shell=bash
# Paths, progress, logs, the lock, and how a process is started. Sourced by node.sh.

CACHE=${GREENLANG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/greenlang-backup}
BIN=$CACHE/bin
LOGS=$CACHE/logs
# Absolute, because it goes into the configuration of daemons.
[[ $CACHE == /* ]] || { echo "node.sh: GREENLANG_CACHE must be an absolute path, not '$CACHE'" >&2; exit 2; }

# All that the running node owns on this machine bears this name.
OWNER=greenlang-backup-node
STATE=/var/lib/$OWNER
RUN=/run/$OWNER
LOCK=/run/$OWNER.lock
MARKER=.$OWNER
SOCKET=$RUN/containerd.sock
BRIDGE=greenlang0
NODE_NAME=greenlang-local
# Its own /24 of addresses; the node itself is the first, on the bridge, so that it does not depend on the machine's network.
POD_SUBNET=10.217.0.0/16
NODE_SUBNET=10.217.0.0/24
NODE_IP=10.217.0.1
SERVICE_SUBNET=10.218.0.0/24
KUBECONFIG_FILE=$CACHE/kubeconfig
MTU=1500 # of the bridge, set when it is made
# kubeadm and the kubelet cannot be told other places than these two, so a marker file in each says that they are ours.
CLAIMED=(/etc/kubernetes /var/lib/kubelet)

# shellcheck source=../versions.env
source "$HERE/versions.env"

exec 3>&2 # messages reach the caller even while a step's output goes to its log
LOG=

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&3; }
die() {
  printf 'node.sh: %s\n' "$*" >&3
  LOG=
  exit 1
}

# Runs a step with its output in a log. Under `set -e` a failure ends the script wherever it happens, and on_exit says
# where to look; testing the result here instead would switch `set -e` off inside the step.
logged() {
  local name=$1
  shift
  mkdir -p "$LOGS"
  LOG=$LOGS/$name.log
  STEP=$name
  exec 5>&1 6>&2 >"$LOG" 2>&1
  "$@"
  exec >&5 2>&6 5>&- 6>&-
  LOG=
}

on_exit() {
  local code=$?
  if ((code != 0)) && [[ -n $LOG ]]; then
    {
      printf 'node.sh: step "%s" failed (exit code %d). The end of %s:\n' "$STEP" "$code" "$LOG"
      tail -n 15 "$LOG" | sed 's/^/    /'
    } >&3
  fi
}
trap on_exit EXIT

# Tries a command until it succeeds: wait_for SECONDS COMMAND...
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
}

# The lock file is deleted by `down`, so after waiting we make sure that the file locked is the one others will see.
take_lock() {
  [[ $EUID == 0 ]] || die "must run as root: it starts containers and changes the network"
  while :; do
    exec 9>"$LOCK"
    if ! flock -n 9; then
      say "waiting for another node.sh to finish"
      flock -w "${GREENLANG_LOCK_TIMEOUT:-1800}" 9 || die "another node.sh holds $LOCK for too long"
    fi
    # An -ef that compares path and descriptor: false when the file was deleted meanwhile.
    [[ $LOCK -ef /proc/$$/fd/9 ]] && return
  done
}

# Hash of the content and names of files and folders, the same wherever the checkout lies.
hash_of() {
  local path
  for path in "$@"; do
    (
      cd "$(dirname "$path")"
      find "$(basename "$path")" -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum
      find "$(basename "$path")" -type f -perm -100 | LC_ALL=C sort
    )
  done | sha256sum | cut -c1-32
}
key_is() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# Starts a daemon that outlives the caller: own session, no inherited descriptor (a caller that reads our output to its
# end must not wait for the daemon, and the lock must not stay held), and in our cgroup, by which it is found again.
spawn() {
  local name=$1
  shift
  mkdir -p "$LOGS"
  (
    join_cgroup
    local fd
    for fd in /proc/"$BASHPID"/fd/*; do
      fd=${fd##*/}
      ((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
    done
    exec setsid "$@" </dev/null >"$LOGS/$name.log" 2>&1
  ) &
}
