#!/bin/sh
# Makes a small Debian image with Python on an engine that reaches no registry, and gives it the names that tests
# and Azure's samples use: tools/base_image.sh [docker command]. Needs root and debootstrap; a name that is there stays.
set -eu
docker=${1:-docker}
names="debian:12-python
mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest
mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
first=$(echo "$names" | head -n 1)

if ! "$docker" image inspect "$first" >/dev/null 2>&1; then
  # The mirror that this machine itself uses.
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([a-z+]*:[^ ]*\).*/\2/p' |
    grep -v security | head -n 1)
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  # What a package does to start services has no place here; documents are not read inside.
  debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$tree" ${mirror:+"$mirror"} \
    >"$tree.log" 2>&1 || { tail -n 20 "$tree.log" >&2; exit 1; }
  rm -rf "$tree.log" "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* "$tree"/usr/share/doc "$tree"/usr/share/man
  : >"$tree/etc/apt/sources.list" # its packages come from where the builder says, if from anywhere
  tar -C "$tree" --numeric-owner -c . | "$docker" import --change 'CMD ["/bin/sh"]' - "$first" >/dev/null
fi
echo "$names" | while read -r name; do
  "$docker" image inspect "$name" >/dev/null 2>&1 || "$docker" tag "$first" "$name"
done
