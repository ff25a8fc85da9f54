#!/bin/sh
# Makes build/rocmforge-VERSION-ARCH.tar.xz: unpack it anywhere and run bin/rocmforge. All libraries but the HTTP server's are inside
# the program; that one and what it needs lie beside it; the C library is the system's (glibc of Debian 12 or newer). The model that
# ships stays out: it alone is larger than the limit of 10 MB.   packaging/dist.sh [BUILD]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/dist}
limit=$((10 * 1000 * 1000))
. packaging/names.sh
name=rocmforge-$version-linux-$(uname -m)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
gpu=$(packaging/gpu_code.sh)
[ -f "$build/build.ninja" ] || CC=${CC:-clang} meson setup "$build" -Dportable=true -Dgpu_code="$gpu" -Dtests=false -Dbuildtype=release >"$work/setup" 2>&1 ||
    { cat "$work/setup"; exit 1; }
ninja -C "$build" --quiet src/cli/rocmforge
mkdir -p "$root/bin" "$root/lib/rocmforge" "$root/share/man/man1" "$root/share/bash-completion/completions" \
    "$root/share/zsh/vendor-completions" "$root/share/fish/vendor_completions.d"
exe=$root/bin/rocmforge
strip -o "$exe" "$build/src/cli/rocmforge"

# The HTTP library, which the program loads when it serves, and its own libraries, glibc's left out.
http=$(${CC:-clang} -print-file-name="$http_library")
[ -f "$http" ] || { echo "dist: $http is not there; apt-get install libmicrohttpd-dev" >&2; exit 1; }
cp -L "$http" "$root/lib/rocmforge/"
ldd "$build/src/cli/rocmforge" "$http" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so' | sort -u | while read -r lib; do
    cp -L "$lib" "$root/lib/rocmforge/"
done
strip --strip-unneeded "$root"/lib/rocmforge/*

"$exe" man >"$root/share/man/man1/rocmforge.1"
"$exe" --help | sed -n 's/^  \([a-z]*\) .*/\1/p' | while read -r c; do "$exe" man "$c" >"$root/share/man/man1/rocmforge-$c.1"; done
"$exe" completion bash >"$root/share/bash-completion/completions/rocmforge.bash"
"$exe" completion zsh >"$root/share/zsh/vendor-completions/_rocmforge"
"$exe" completion fish >"$root/share/fish/vendor_completions.d/rocmforge.fish"
cp README.md LICENSE CHANGELOG.md packaging/copyright packaging/rocmforge.toml "$root/"
cp -r docs deploy "$root/"
out=build/$name.tar.xz
mkdir -p build
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cJf "$out" "$name"
size=$(stat -c %s "$out")
echo "$out: $((size / 1000)) kB"
[ "$size" -le "$limit" ] || { echo "dist: over $limit bytes" >&2; exit 1; }
