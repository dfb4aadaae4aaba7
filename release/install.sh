#!/bin/sh
# install.sh demo|dev: `.venv` with what the demo needs, or with the tools as well. Called by make.
#
# uv installs in seconds what takes pip a minute. Where there is no wheel of it, or it fails (it does not read pip's
# settings), pip does the same from the same locks. Neither installs a file whose hash is not in them.
set -eu
cd "$(dirname "$0")/.."
bin=.venv/bin
wheels=${XDG_CACHE_HOME:-${HOME:-.venv}/.cache}/playground-deployer/uv

pip() {
    command=$1
    shift
    $bin/pip "$command" --quiet --disable-pip-version-check "$@"
}

# What its cache has is installed without the network, which may be missing.
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

# An install that was interrupted leaves packages that look whole. An unfinished one therefore starts from scratch.
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
    # uv compiles nothing, or all of 4,000 modules. What is imported is compiled now, also where PYTHONDONTWRITEBYTECODE
    # is set: there each process would do it again.
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
