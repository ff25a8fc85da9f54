#!/bin/sh
# GPU code of every architecture, compiled once for both packages and tests (build/gpu; nine minutes of a core, with nvcc 20 and more); prints where it lies, sizes on
# standard error.   packaging/gpu_code.sh
set -eu
cd "$(dirname "$0")/.."
mkdir -p build
exec 9>build/gpu.lock
flock 9 # both packages may be made at one time
[ -f build/gpu/build.ninja ] || CC=${CC:-clang} meson setup build/gpu -Dgpu_targets=all -Dcuda=enabled -Dhip=enabled -Dtests=false >&2
ninja -C build/gpu src/backend/gpu/gpu_objects.c | grep -vE '^(\[[0-9]+/[0-9]+\] Generating|ninja: )' >&2 || true
[ -f build/gpu/src/backend/gpu/gpu_objects.c ] && ninja -C build/gpu -n src/backend/gpu/gpu_objects.c | grep -q 'no work to do' || { echo "packaging: the GPU code was not compiled" >&2; exit 1; }
echo "$PWD/build/gpu/src/backend/gpu/gpu_objects.c"
