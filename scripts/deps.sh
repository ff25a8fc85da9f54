#!/bin/sh
# Installs the Debian packages that are missing, and says which and why. Prints nothing when all is there.
#
#   scripts/deps.sh [build|gpu|dist|isa|test|all]   build: to compile (default), with GPU compilers where there is a GPU; gpu: with them in any
#                                                   case; dist: for make dist; isa: what reads AMD's GPU code, for tests/run.sh gpu_code;
#                                                   test: what the other tests need besides; all: build and test
set -eu

what=${1:-build}

# package | what tells that it is there (a file or a command) | why
build='
clang|cmd:clang|the compiler
meson|cmd:meson|the build description
ninja-build|cmd:ninja|runs the build
pkg-config|cmd:pkg-config|finds the libraries
libc6-dev|/usr/include/stdio.h|C library headers
libmicrohttpd-dev|/usr/include/microhttpd.h|HTTP server
libjansson-dev|/usr/include/jansson.h|JSON
libutf8proc-dev|/usr/include/utf8proc.h|Unicode tables
libpcre2-dev|/usr/include/pcre2.h|pre-tokenizer patterns
libzstd-dev|/usr/include/zstd.h|packed GPU code
zstd|cmd:zstd|packs it
libsqlite3-dev|/usr/include/sqlite3.h|the catalogue of models
libedit-dev|/usr/include/histedit.h|line editing in conversations
'
gpu='
clang-19|cmd:clang-19|compiles the GPU code
lld-19|cmd:ld.lld-19|links it for AMD
'
dist='
zlib1g-dev|/usr/include/zlib.h|the static library of SQLite wants it
xz-utils|cmd:xz|packs the tarball
binutils|cmd:strip|strips the program
'
isa='
llvm-19|cmd:llvm-objdump-19|reads the GPU code that was made
'
test='
python3-pip|/usr/lib/python3/dist-packages/pip/__init__.py|fetches the test models
ca-certificates|/etc/ssl/certs/ca-certificates.crt|https for them
python3-venv|/usr/lib/python3*/ensurepip/__init__.py|tests in Python
curl|cmd:curl|talks to the server in the tests
libcurl4|/usr/lib/*/libcurl.so.4|talks to other servers (run --server)
binutils|cmd:strip|measures the stripped binary
libclang-rt-dev|/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-x86_64.a|sanitizers
gcc-aarch64-linux-gnu|cmd:aarch64-linux-gnu-gcc|compiles the ARM kernels
libc6-dev-arm64-cross|/usr/aarch64-linux-gnu/include/stdio.h|their C library
qemu-user|cmd:qemu-aarch64|runs them
chromium|cmd:chromium|opens the page in the tests
chromium-driver|cmd:chromedriver|steers it
'

[ -z "$(python3 "$(dirname "$0")/gpu_targets.py" 2>/dev/null)" ] || build=$build$gpu # python3 comes with meson
case $what in
build) list=$build ;;
gpu) list=$build$gpu ;;
dist) list=$build$gpu$dist ;;
isa) list=$isa ;;
test | all) list=$build$test ;;
*) echo "usage: scripts/deps.sh [build|gpu|dist|isa|test|all]" >&2; exit 2 ;;
esac

there() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
    *) for f in $1 /usr/local/include/"${1##*/}"; do [ -e "$f" ] && return 0; done; return 1 ;;
    esac
}

missing='' lines=''
while IFS='|' read -r package sign why; do
    [ -n "$package" ] || continue
    there "$sign" && continue
    [ "$package" = libclang-rt-dev ] && package=libclang-rt-$(clang --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p;q' | grep . || echo 14)-dev
    missing="$missing $package" lines="$lines  $package: $why
"
done <<EOF
$list
EOF
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    printf 'These are missing, and this system has no apt-get to install them:\n%s' "$lines" >&2
    exit 1
fi
printf 'Installing Debian packages:\n%s' "$lines"
sudo=''
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "Not root and no sudo: install them yourself, then try again." >&2; exit 1; }
    sudo=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $sudo apt-get update && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    echo "apt-get failed; its last lines are above." >&2
    exit 1
fi
