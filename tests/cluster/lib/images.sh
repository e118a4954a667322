# shellcheck shell=bash
# Images: built by buildah into the cache, imported into the node's containerd. Nothing is pulled.

ARCHIVES=$CACHE/images

# An own store, so that the machine's other images are neither seen nor changed.
bah() {
  mkdir -p "$CACHE/buildah" "$RUN/buildah" "$CACHE/tmp"
  # Without this it makes /etc/cni/net.d, though it sets up no network here.
  printf '[network]\nnetwork_backend = "cni"\nnetwork_config_dir = "%s"\n' "$CACHE/tmp/network" >"$CACHE/tmp/containers.conf"
  CONTAINERS_CONF=$CACHE/tmp/containers.conf TMPDIR=$CACHE/tmp buildah --root "$CACHE/buildah" --runroot "$RUN/buildah" --storage-driver overlay "$@"
}

archive_of() { local name=${1//\//_}; echo "$ARCHIVES/${name//:/_}"; }

# Always asks buildah, whose layer cache knows from the content of what is copied whether anything changed; the archive is
# written only when the image is another one.
build_image() { # IMAGE CONTEXT CONTAINERFILE [BUILD OPTION...]
  local image=$1 context=$2 file=$3 archive id
  shift 3
  archive=$(archive_of "$image")
  mkdir -p "$ARCHIVES"
  bah build --isolation chroot --pull=never --layers --format oci --iidfile "$archive.iid" --tag "$image" --file "$file" "$@" "$context"
  id=$(<"$archive.iid")
  key_is "$archive.id" "$id" && [[ -s $archive.digest ]] && return
  rm -f "$archive.id"
  export_image "$image" "$archive"
  echo "$id" >"$archive.id"
  bah rmi --prune # the image that this one replaced, else each reload would take its size of disk for ever
}

# Into a folder of blobs, uncompressed because they are read on this machine only. The folder stays, so that a changed
# image costs its changed layers. (buildah's OCI folders and archives are always compressed, at 12 s for 180 MB.)
export_image() { # IMAGE ARCHIVE
  local image=$1 archive=$2 folder=$2.blobs digest used
  mkdir -p "$folder"
  rm -f "$archive.digest"
  bah push --disable-compression --format oci "$image" "dir:$folder"
  digest=$(sha256sum <"$folder/manifest.json" | cut -c1-64)
  cp "$folder/manifest.json" "$folder/$digest"
  used=$(jq -r '.config.digest, .layers[].digest' "$folder/manifest.json")
  find "$folder" -type f -regextype egrep -regex '.*/[0-9a-f]{64}' -printf 'sha256:%f\n' |
    { grep -vxF -e "$used" -e "sha256:$digest" || true; } | sed "s|^sha256:|$folder/|" | xargs -r rm -f
  echo '{"imageLayoutVersion":"1.0.0"}' >"$folder/oci-layout"
  jq -n --arg image "$image" --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$folder/manifest.json")" '
    {schemaVersion: 2, manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size,
     annotations: {"io.containerd.image.name": $image}}]}' >"$folder/index.json"
  echo "sha256:$digest" >"$archive.digest"
}

# The images that the scripts know: built only when the key over all that goes into one changed.
ensure_image() { # IMAGE KEY CONTEXT CONTAINERFILE [BUILD OPTION...]
  local image=$1 key=$2 archive name
  shift 2
  archive=$(archive_of "$image")
  [[ -s $archive.digest ]] && key_is "$archive.key" "$key" && return
  say "image $image"
  name=${image##*/}
  rm -f "$archive.key"
  logged "image-${name%%:*}" build_image "$image" "$@"
  echo "$key" >"$archive.key"
}

NODE_IMAGES=()
TEST_IMAGES=(localhost/greenlang-test/postgres:"$POSTGRES_TAG" localhost/greenlang-test/s3:"$S3_TAG" localhost/greenlang-test/hand:"$HAND_TAG")

node_image() { # IMAGE FOLDER PROGRAM-GROUP [BUILD OPTION...]
  local image=localhost/greenlang-node/$1 folder=$HERE/images/$2 group=$3
  shift 3
  NODE_IMAGES+=("$image")
  ensure_image "$image" "$(hash_of "$folder")-$(<"$BIN/.$group.key")-$BASE_KEY-$*" "$BIN" "$folder/Containerfile" "$@"
}

ensure_node_images() {
  local program
  ensure_base
  BASE_KEY=$(base_key)
  ensure_image "$BASE_IMAGE" "$BASE_KEY" "$ROOTFS" "$ROOTFS/Containerfile"
  NODE_IMAGES=("$BASE_IMAGE")
  node_image "pause:$PAUSE_TAG" pause pause
  for program in kube-apiserver kube-controller-manager kube-scheduler; do
    node_image "$program:$KUBERNETES_VERSION" node kubernetes --build-arg "PROGRAM=$program"
  done
  node_image "etcd:$ETCD_VERSION" node kubernetes --build-arg PROGRAM=etcd
  node_image "coredns:$COREDNS_VERSION" coredns coredns
  node_image "kube-proxy:$KUBERNETES_VERSION" kube-proxy kubernetes
}

ensure_test_images() {
  local part image folder context
  for image in "${TEST_IMAGES[@]}"; do
    part=${image##*/}
    part=${part%%:*}
    folder=$HERE/images/$part
    context=$folder
    if [[ $part == s3 ]]; then # the one part with a program of ours to build
      context=$CACHE/tmp/s3
      rm -rf "$context"
      mkdir -p "$context"
      cp "$folder"/* "$BIN/versitygw" "$context/"
    fi
    ensure_image "$image" "$(hash_of "$folder")-$(<"$BIN/.versitygw.key")-$BASE_KEY" "$context" "$folder/Containerfile"
  done
}

# Sets IMPORTED to how many the node did not have in this form.
import_images() { # IMAGE...
  local image archive have
  IMPORTED=0
  have=$(ctrd images ls | awk 'NR > 1 { print $1, $3 }')
  for image in "$@"; do
    archive=$(archive_of "$image")
    grep -qxF "$image $(<"$archive.digest")" <<<"$have" && continue
    say "importing $image into the node"
    logged import import_image "$image"
    IMPORTED=$((IMPORTED + 1))
  done
}

import_image() {
  local archive image=$1
  archive=$(archive_of "$image")
  # First without the layers that the node has; if one of them was just being collected as garbage, with all.
  stream_image "$archive.blobs" "$(ctrd content ls -q)" | ctrd images import - ||
    stream_image "$archive.blobs" none | ctrd images import -
  ctrd images ls | awk '{ print $1, $3 }' | grep -xF "$image $(<"$archive.digest")"
}

# An OCI archive on standard output, without the blobs that are there already.
stream_image() { # FOLDER DIGESTS
  find "$1" -type f -regextype egrep -regex '.*/[0-9a-f]{64}' -printf 'sha256:%f\n' | { grep -vxF -e "$2" || true; } | cut -d: -f2 |
    tar --create --directory "$1" --transform 's,^[0-9a-f]\{64\}$,blobs/sha256/&,' oci-layout index.json --files-from -
}
