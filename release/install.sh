#!/bin/sh
# install.sh demo|dev: create `.venv` for the demo, or with all tools. Called by make.
#
# uv takes seconds, pip a minute. If uv has no wheel for this platform, or fails (it does not read pip's settings), pip
# installs from the same locks. Both install only files whose hashes are in the locks.
set -eu
cd "$(dirname "$0")/.."
bin=.venv/bin
wheels=${XDG_CACHE_HOME:-${HOME:-.venv}/.cache}/playground-deployer/uv

pip() {
    command=$1
    shift
    $bin/pip "$command" --quiet --disable-pip-version-check "$@"
}

# Cached packages are installed offline, because the network may be unavailable.
uv() {
    $bin/uv pip install --quiet --python $bin/python --offline "$@" 2>/dev/null ||
        $bin/uv pip install --quiet --python $bin/python "$@"
}

install() {
    { [ -x $bin/uv ] && uv "$@"; } || pip install "$@"
}

install_uv() {
    set -- --only-binary :all: --require-hashes -r requirements-uv.lock
    { [ -d "$wheels" ] && pip install --no-index --find-links "$wheels" "$@" 2>/dev/null; } ||
        { pip download --dest "$wheels" "$@" && pip install --no-index --find-links "$wheels" "$@"; } ||
        echo "uv is not available here: pip installs instead, which takes a minute longer." >&2
}

# An interrupted install leaves packages that look complete. An unfinished install is therefore started from scratch.
demo() {
    if [ -e .venv/unfinished ] || [ ! -x $bin/pip ]; then
        "${PYTHON:-python3}" -c 'import sys; sys.exit(
            "Python 3.11 or newer is needed: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
        "${PYTHON:-python3}" -m venv --clear .venv
    fi
    touch .venv/unfinished
    install_uv
    install --require-hashes -r requirements-demo.lock
    install --no-deps --no-build-isolation --editable .
    # uv compiles either no module or all 4,000. Imported modules are compiled here, even if PYTHONDONTWRITEBYTECODE is
    # set; otherwise each process would compile them again.
    PYTHONDONTWRITEBYTECODE='' $bin/python -c 'import worker.app, worker.cli.demo'
    mv .venv/unfinished .venv/demo
}

dev() {
    if [ -e .venv/unfinished ]; then demo; fi
    touch .venv/unfinished
    UV_COMPILE_BYTECODE=1 install --require-hashes -r requirements-dev.lock
    mv .venv/unfinished .venv/dev
}

case ${1-} in
demo | dev) "$1" ;;
*) echo "usage: install.sh demo|dev" >&2 && exit 2 ;;
esac
