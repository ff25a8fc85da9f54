#!/bin/sh
# make fuzz: every fuzz target for $1 seconds (default 60) under ASan and UBSan. New inputs stay in build-fuzz/corpus/NAME.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ "$seconds" -gt 0 ] 2>/dev/null || seconds=60
export CC=clang
[ -f build-fuzz/build.ninja ] || CFLAGS=-fsanitize=fuzzer-no-link meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined \
    -Db_lundef=false -Doptimization=1 >/dev/null
ninja -C build-fuzz --quiet
failed=0
for exe in build-fuzz/tests/fuzz/fuzz_*; do
    case $exe in *.p) continue ;; esac
    name=${exe##*/fuzz_}
    mkdir -p "build-fuzz/corpus/$name"
    echo "== $name"
    dict=tests/fuzz/$name.dict
    [ -f "$dict" ] && dict=-dict=$dict || dict=-close_fd_mask=0
    "$exe" "$dict" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -artifact_prefix="build-fuzz/crash-$name-" \
        "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"build-fuzz/$name.log" 2>&1 || { failed=1; tail -30 "build-fuzz/$name.log"; }
    grep -E 'stat::number_of_executed_units|stat::peak_rss' "build-fuzz/$name.log" || true
done
exit $failed
