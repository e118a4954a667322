# shellcheck shell=bash
# The programs of the node, built from Go modules at pinned versions.

require_version() { # MODULE VERSION FOLDER
  grep -qE "^(require )?[[:space:]]*${1//./\\.}( =>[^ ]* [^ ]*)? $2( |$)" "$HERE/go/$3/go.mod" ||
    die "versions.env wants $1 $2, but tests/cluster/go/$3/go.mod does not. Change both, then run 'go mod tidy' there"
}

check_versions() {
  require_version k8s.io/kubernetes "$KUBERNETES_VERSION" kubernetes
  require_version go.etcd.io/etcd/server/v3 "$ETCD_VERSION" kubernetes
  require_version github.com/coredns/coredns "$COREDNS_VERSION" coredns
  require_version github.com/versity/versitygw "$VERSITYGW_VERSION" versitygw
  require_version helm.sh/helm/v4 "$HELM_VERSION" helm
  require_version github.com/minio/minio "$MINIO_VERSION" minio
  local other
  other=$(grep -E '^[[:space:]]*k8s\.io/[a-z-]+ => ' "$HERE/go/kubernetes/go.mod" | grep -vF " $KUBERNETES_STAGING_VERSION" || true)
  [[ -z $other ]] || die "tests/cluster/go/kubernetes/go.mod replaces modules by another version than $KUBERNETES_STAGING_VERSION: $other"
}

# kubeadm refuses to guess the version of an unstamped build.
kubernetes_stamp() {
  local v=k8s.io/component-base/version major minor
  IFS=. read -r major minor _ <<<"${KUBERNETES_VERSION#v}"
  echo "-X $v.gitVersion=$KUBERNETES_VERSION -X $v.gitMajor=$major -X $v.gitMinor=$minor -X $v.gitTreeState=clean"
}

# What node and tests always need. MinIO is built only when it is asked for.
PROGRAM_GROUPS=(pause kubernetes coredns versitygw helm)

ensure_programs() {
  local group
  for group in "${PROGRAM_GROUPS[@]}"; do ensure_program "$group"; done
}

ensure_program() { # GROUP
  local k=k8s.io/kubernetes/cmd
  check_versions
  case $1 in
    pause) build_group pause "" . ;;
    kubernetes)
      build_group kubernetes "$(kubernetes_stamp)" $k/kube-apiserver $k/kube-controller-manager $k/kube-scheduler \
        $k/kubelet $k/kube-proxy $k/kubectl $k/kubeadm go.etcd.io/etcd/server/v3
      ;;
    coredns) build_group coredns "" github.com/coredns/coredns ;;
    versitygw) build_group versitygw "" github.com/versity/versitygw/cmd/versitygw ;;
    helm) build_group helm "" helm.sh/helm/v4/cmd/helm ;;
    minio) build_group minio "" github.com/minio/minio ;;
    *) die "there is no program '$1' to build" ;;
  esac
}

build_group() { # GROUP LDFLAGS PACKAGE...
  local group=$1 ldflags="-s -w $2" key
  shift 2
  key=$(printf '%s\n' "$(hash_of "$HERE/go/$group")" "$ldflags" "$@" | sha256sum | cut -c1-32)
  key_is "$BIN/.$group.key" "$key" && return
  command -v go >/dev/null || die "Go is missing (needed to build $group; see 'go' in tests/cluster/go/$group/go.mod for the version)"
  say "building $group (log: $LOGS/build-$group.log)"
  logged "build-$group" compile "$group" "$key" "$ldflags" "$@"
}

compile() {
  local group=$1 key=$2 ldflags=$3 new=$CACHE/tmp/build-$1
  shift 3
  rm -rf "$new"
  mkdir -p "$new" "$BIN"
  cd "$HERE/go/$group"
  GOWORK=off CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -ldflags "$ldflags" -o "$new/" "$@"
  cd "$HERE"
  [[ ! -e $new/server ]] || mv "$new/server" "$new/etcd" # Go names it after its folder
  rm -f "$BIN/.$group.key"
  mv -f "$new"/* "$BIN/"
  echo "$key" >"$BIN/.$group.key"
  rmdir "$new"
}

# Changes whenever one of the programs does that node and tests always need.
programs_key() {
  local group
  for group in "${PROGRAM_GROUPS[@]}"; do cat "$BIN/.$group.key"; done | sha256sum | cut -c1-32
}
