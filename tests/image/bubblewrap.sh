#!/bin/sh
# What the image's tests need beyond Python: root, and bubblewrap, which is fetched from Debian where it is missing.
set -eu
[ "$(id -u)" = 0 ] || { echo "make test-image needs root: in a container, or with sudo." >&2; exit 1; }
command -v bwrap >/dev/null && exit
if command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes bubblewrap >/dev/null && exit
fi
echo "make test-image needs bubblewrap, and it cannot be installed from here: install the package of that name." >&2
exit 1
