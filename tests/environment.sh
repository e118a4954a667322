# shellcheck shell=bash
# Sourced by demo.sh and test.sh: the cluster they run on, in KUBECONFIG and IMAGE. The local node, unless ALLOW_CLUSTER
# names the current context of the user's own KUBECONFIG.
: "${GREENLANG_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/greenlang-backup}"
export GREENLANG_CACHE CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$GREENLANG_CACHE/target} PATH=$GREENLANG_CACHE/bin:$PATH

own_cluster() { [[ -n ${ALLOW_CLUSTER:-} ]]; }

# Stops unless the user's own cluster is the one that was allowed, and its image is named.
check_own_cluster() {
  local context program
  for program in kubectl helm; do
    command -v "$program" >/dev/null || {
      echo "error: $program is missing: install it, or let 'tests/cluster/node.sh programs' build it" >&2
      exit 2
    }
  done
  context=$(kubectl config current-context 2>/dev/null || true)
  if [[ $context != "$ALLOW_CLUSTER" ]]; then
    echo "error: ALLOW_CLUSTER is '$ALLOW_CLUSTER', but the current context of KUBECONFIG is '$context': nothing was touched" >&2
    exit 2
  fi
  # Jobs and Deployment are told repository and tag; a port is no tag.
  if [[ ! ${IMAGE:-} =~ .:[^/:]+$ ]]; then
    echo "error: IMAGE must name the operator's image, with its tag, in a registry that the cluster can pull from: nothing was touched" >&2
    exit 2
  fi
}

# use_cluster release|dev: leaves KUBECONFIG and IMAGE set.
use_cluster() {
  if own_cluster; then
    check_own_cluster
    return
  fi
  # `set -e` does not hold where the caller looks at the result, so each line says for itself that it must not fail.
  tests/cluster/node.sh up || return
  tests/cluster/node.sh images || return
  KUBECONFIG=$(tests/cluster/node.sh kubeconfig) || return
  IMAGE=$(tests/image.sh "$1") || return
  export KUBECONFIG IMAGE
}
