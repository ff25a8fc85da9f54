#!/bin/sh
# make bench: our own figures for MODEL (default: the small test model), and the peer's beside them where it is installed.
set -eu
cd "$(dirname "$0")/.."
model=${1:-}
[ -n "$model" ] || model=$(python3 scripts/fetch_test_models.py --print qwen2.5-coder-0.5b)
for python in "${PEER_PYTHON:-}" build/pyenv/bin/python python3; do
    if [ -n "$python" ] && "$python" -c 'import llama_cpp' 2>/dev/null; then
        exec "$python" bench/peers.py "$model" --peer-python "$python"
    fi
done
echo 'llama-cpp-python is not installed (PEER_PYTHON= names a Python that has it): our own figures only'
exec build/rocmforge bench "$model" --pp 512 --tg 128 --batch 1,8
