#!/bin/sh
# What the image's tests need beyond Python: root, and bubblewrap, which is fetched from Debian where it is missing.
set -eu
[ "$(id -u)" = 0 ] || { echo "make test-image needs root: in a container, or with sudo." >&2; exit 1; }
if ! command -v bwrap >/dev/null; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes bubblewrap; } >/dev/null || {
        echo "make test-image needs bubblewrap, and it cannot be installed from here: install the package of that name." >&2
        exit 1
    }
fi
bwrap --unshare-pid --ro-bind / / true || { echo "make test-image may make no namespaces here: run it outside of this container." >&2; exit 1; }
