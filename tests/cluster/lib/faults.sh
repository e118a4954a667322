# shellcheck shell=bash
# Parts of the node that fail, and the way back.

READY_SECONDS=300 # of a node that starts with many Pods, on a busy machine

let_fail() { # api-server|kubelet|all
  case $1 in
    api-server) signal STOP kube-apiserver ;; # it neither ends nor answers
    kubelet)
      signal TERM kubelet
      wait_for 30 is_gone kubelet
      ;;
    all) cut_power ;;
  esac
}

signal() { # SIGNAL PROGRAM
  local pids
  pids=$(our_named "$2")
  [[ -n $pids ]] || die "no $2 of the node runs"
  # shellcheck disable=SC2086 # one word for each process
  kill "-$1" $pids
}

is_gone() { [[ -z $(our_named "$1") ]]; }

# As a machine that lost power: what was in memory is gone, what was on a disk is there. The machine itself goes on, so bridge and
# firewall stay.
cut_power() {
  kill_processes
  unmount_under "$RUN"           # root file systems and network namespaces of containers
  unmount_under /var/lib/kubelet # their Secrets
  rm -rf "$RUN/containerd" "$RUN/runc"
}

# What runs is left alone; what hangs goes on.
start_stopped() {
  ! is_gone containerd || start_containerd
  ! is_gone kubelet || start_kubelet
  is_gone kube-apiserver || signal CONT kube-apiserver
  wait_for "$READY_SECONDS" system_ready
}
