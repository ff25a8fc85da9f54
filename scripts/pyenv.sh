#!/bin/sh
# Makes (or refreshes) the tests' Python environment and prints its python: DIR/bin/python.
#
#   scripts/pyenv.sh [DIR]        default build/pyenv; pinned by tests/requirements.txt
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$here/build/pyenv}
want=$here/tests/requirements.txt
if ! cmp -s "$want" "$dir/installed.txt" 2>/dev/null; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { python3 -m venv --clear "$dir" && "$dir/bin/python" -m pip install -q --disable-pip-version-check -r "$want"; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        echo "pyenv: could not make $dir (above: the last lines of pip)" >&2
        exit 1
    fi
    cp "$want" "$dir/installed.txt"
fi
echo "$dir/bin/python"
