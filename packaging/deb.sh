#!/bin/sh
# Makes build/rocmforge_VERSION_ARCH.deb from an installed tree: program, library, header, manual pages, completion, the model that
# ships, the systemd unit (not enabled). Needs dpkg-dev.   packaging/deb.sh [BUILD]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/deb}
. packaging/names.sh
arch=$(dpkg --print-architecture)
command -v dpkg-shlibdeps >/dev/null 2>&1 || { echo "deb: dpkg-shlibdeps is missing; apt-get install dpkg-dev" >&2; exit 1; }
mkdir -p build
gpu=$(packaging/gpu_code.sh)
[ -f "$build/build.ninja" ] || CC=${CC:-clang} meson setup "$build" -Dgpu_code="$gpu" -Dtests=false >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"; meson configure "$build" --prefix=/usr/local --libdir=lib 2>/dev/null || true' EXIT
root=$work/debian/rocmforge
meson configure "$build" --prefix=/usr --libdir="lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)"
ninja -C "$build" --quiet install-files
DESTDIR=$root meson install -C "$build" --quiet --no-rebuild
find "$root" -type f \( -name rocmforge -path '*/bin/*' -o -name '*.so.*' \) -exec strip --strip-unneeded {} +
find "$root" -name '*.a' -exec strip --strip-debug {} +
find "$root/usr/share/man" -type f -exec gzip -9n {} +
doc=$root/usr/share/doc/rocmforge
mkdir -p "$doc" "$root/DEBIAN" "$root/lib/systemd/system" "$root/etc/rocmforge"
cp README.md "$doc/"
cp -r docs examples "$doc/"
gzip -9nc CHANGELOG.md >"$doc/NEWS.gz"
cp packaging/copyright "$doc/copyright"
cp deploy/rocmforge.service "$root/lib/systemd/system/"
cp packaging/rocmforge.toml "$root/etc/rocmforge/rocmforge.toml"
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f ! -path '*/bin/*' -exec chmod 644 {} +

: >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info -l"$root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" debian/rocmforge/usr/bin/rocmforge 2>/dev/null | sed 's/^shlibs:Depends=//')
[ -n "$depends" ] || { echo "deb: dpkg-shlibdeps found no dependencies" >&2; exit 1; }
# The program loads the HTTP library by name, so dpkg-shlibdeps does not see it.
http=$(dpkg-query -S "*/$http_library" 2>/dev/null | sed -n '1s/:.*//p')
[ -n "$http" ] || { echo "deb: no package holds the HTTP library; apt-get install libmicrohttpd-dev" >&2; exit 1; }
depends="$depends, $http (>= 0.9.75)"
cat >"$root/DEBIAN/control" <<EOF
Package: rocmforge
Version: $version
Architecture: $arch
Maintainer: The ROCmForge developers <rocmforge@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends
Recommends: libcurl4, ca-certificates
Section: science
Priority: optional
Description: run and serve language models
 Runs language models from files that already lie on the disk (GGUF,
 safetensors, other programs' stores) in the terminal, over HTTP with
 OpenAI's API and a page for the browser, and from C. On CPUs, and on
 NVIDIA and AMD GPUs through their drivers alone.
EOF
echo /etc/rocmforge/rocmforge.toml >"$root/DEBIAN/conffiles"
printf '#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi\n' >"$root/DEBIAN/postinst"
printf '#!/bin/sh\nset -e\nif [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl stop rocmforge.service || true; fi\n' >"$root/DEBIAN/prerm"
cp "$root/DEBIAN/postinst" "$root/DEBIAN/postrm"
echo activate-noawait ldconfig >"$root/DEBIAN/triggers"
echo "librocmforge 0 rocmforge (>= $version)" >"$root/DEBIAN/shlibs"
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
out=build/rocmforge_${version}_$arch.deb
dpkg-deb --build --root-owner-group "$root" "$out" >/dev/null
echo "$out: $(du -k "$out" | cut -f1) kB"
