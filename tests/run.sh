#!/bin/bash
# Builds and runs every test; the last line is "N passed, M failed" (", K skipped"). Exit status 1 if one failed.
#
#   tests/run.sh [PASS...]     default: plain arm python asan tsan lint, under 20 minutes on two cores; .ci/run adds gpu_code, emulator and asan-rest
#
# plain   the C tests (TAP, check.h) of build/
# arm     the kernels cross-compiled for 64-bit ARM, under qemu-user (build-arm/)
# python  pytest over tests/, against build/
# asan    the C tests again, under ASan and UBSan (build-asan/)
# asan-rest   the Python tests that drive our own programs, in that build
# gpu_code    the GPU code of every architecture compiled, as for packages (build/gpu); its sizes; what compilers made of it (scripts/gpu_isa.py)
# emulator    the GPU kernels' tests again: wave 64, other orders of a block's threads; gpu_isa.py too, where gpu_code is not asked for
# tsan    backend, engine and server tests under TSan (build-tsan/), and the GPU kernels with each emulated thread as one of TSan's
# lint    scripts/lint.py, one test
#
# RF_TEST_QUICK=1 makes the million-operation property tests short; the sanitizer passes set it. RF_TEST_LONG=1 (.ci/run) takes all of what is
# long and much alike: each device, the second text of perplexity, 2,000 requests. RF_TEST_JOBS C tests run
# at once (default: one per core). Logs: BUILD/test-logs/.
set -u
cd "$(dirname "$0")/.." || exit 1
export CC=${CC:-clang} RF_SHARED=${RF_SHARED:-$PWD/../shared}
jobs=${RF_TEST_JOBS:-$(nproc)}
passes=${*:-plain arm python asan tsan lint}
no_gpu_code="-Dcuda=disabled -Dhip=disabled" # compiled once, in build/; the emulated drivers take an object of their own
passed=0 failed=0 skipped=0
work=$(mktemp -d)
export RF_FAILURES=$work/failures # a line each, printed again at the end
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

# count PASSED FAILED SKIPPED
count() { passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3)); }

# build DIR MESON_ARGS...: configures once, then builds all; a build that fails is one failed test.
build() {
    local dir=$1
    shift
    if [ ! -f "$dir/build.ninja" ] && ! meson setup "$dir" "$@" >"$work/setup" 2>&1; then
        cat "$work/setup"
    elif ninja -C "$dir" >"$work/ninja" 2>&1; then
        ln -sf src/cli/rocmforge "$dir/rocmforge"
        return 0
    else
        grep -v '^\[' "$work/ninja" | tail -40
    fi
    echo "not ok - $dir does not build"
    echo "$dir does not build" >>"$RF_FAILURES"
    count 0 1 0
    return 1
}

asan_args="-Db_sanitize=address,undefined -Db_lundef=false $no_gpu_code -Doptimization=1 -Dbuildtype=debugoptimized"
tsan_args="-Db_sanitize=thread -Db_lundef=false $no_gpu_code -Doptimization=1 -Dbuildtype=debugoptimized"

# The Python tests wait more than they compute: what is left of the processor builds for the passes to come. A build that fails
# here says so when its pass builds again.
ahead=
build_ahead() {
    {
        case " $passes " in *" asan"*) [ -f build-asan/build.ninja ] || meson setup build-asan $asan_args; ninja -C build-asan -j 1 ;; esac
        case " $passes " in *" tsan "*) [ -f build-tsan/build.ninja ] || meson setup build-tsan $tsan_args; ninja -C build-tsan -j 1 ;; esac
    } >"$work/ahead" 2>&1 &
    ahead=$!
    renice -n 15 "$ahead" >/dev/null 2>&1
}
build_waits() {
    [ -z "$ahead" ] || wait "$ahead"
    ahead=
}

# One C test program -> LOG, and "passed failed skipped" in LOG.sum. A program that dies, or runs none, is a failed test.
one() {
    local exe=$1 log=$2 args=()
    local libs=${LD_LIBRARY_PATH:-}
    case $exe in
    */replay_*) args=("tests/fuzz/corpus/${exe##*/replay_}") ;;
    */gpu_isa.py) args=(build build/gpu) ;;
    */test_gpu*) # ASan's dlopen does not see a program's own run path; its second stack for each of the emulator's fibers takes ten times the time
        libs=${exe%%/tests/*}/src/backend/gpu/emulator
        export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_stack_use_after_return=0
        ;;
    esac
    LD_LIBRARY_PATH=$libs timeout -k 5 "${RF_TEST_TIMEOUT:-600}" ${RF_TEST_WRAP:-} "$exe" "${args[@]}" >"$log" 2>&1 </dev/null
    local rc=$?
    awk -v rc=$rc '/^ok .*# SKIP/ {s++; next} /^ok / {p++} /^not ok / {f++} END {
        if ((rc != 0 && !f) || !(p + f + s)) f++
        print p + 0, f + 0, s + 0 }' "$log" >"$log.sum"
    read -r p f s <"$log.sum"
    printf '%-10s %-44s %s passed, %s failed, %s skipped, %ss\n' "$([ "$f" = 0 ] && echo ok || echo FAILED)" "${exe#*/tests/}" "$p" "$f" "$s" "$SECONDS"
    if [ "$f" != 0 ]; then
        echo "    exit status $rc; the end of $log:"
        grep -v '^ok ' "$log" | tail -25 | sed 's/^/    /'
        { grep '^not ok ' "$log" || echo "exit status $rc"; } | sed "s|^|$exe: |" >>"$RF_FAILURES"
    fi
    grep '^ok .*# SKIP' "$log" | sed 's/^ok [0-9]* - /    skipped: /'
    return 0
}
export -f one

# c_tests BUILD PATTERN
c_tests() {
    local logs=$1/test-logs
    rm -rf "$logs"
    mkdir -p "$logs"
    find "$1/tests" -type f -perm -u+x \( -name 'test_*' -o -name 'replay_*' \) ! -name '*.py' ! -path '*.p/*' | grep -E "$2" | sort >"$work/list"
    xargs -P "$jobs" -I{} bash -c 'one "$1" "$2/$(basename "$1").log"' _ {} "$logs" <"$work/list"
    [ -s "$work/list" ] || count 0 1 0
    local sum
    for sum in "$logs"/*.sum; do
        [ -f "$sum" ] && read -r p f s <"$sum" && count "$p" "$f" "$s"
    done
}

# What compilers made of the GPU kernels, in whatever build folder there is code.
gpu_isa() {
    say "sizes, instructions and spilled registers of the GPU code that was built"
    one scripts/gpu_isa.py "$work/isa"
    grep '^#.* packed$' "$work/isa"
    read -r p f s <"$work/isa.sum" && count "$p" "$f" "$s"
}

# Compilers that cannot be had are no fault of the code; code that does not compile is. Nothing is compiled twice: what is up to date stays.
gpu_code() {
    if ! scripts/deps.sh gpu >"$work/deps" 2>&1; then
        tail -3 "$work/deps"
        echo "skipped: GPU code of every architecture: clang-19 and lld-19 cannot be installed"
        count 0 0 1
    elif packaging/gpu_code.sh >"$work/gpu_code" 2>&1; then
        grep -E '^Message: no code' "$work/gpu_code"
        echo "ok - GPU code of every architecture compiles"
        count 1 0 0
        scripts/deps.sh isa >"$work/deps" 2>&1 || tail -3 "$work/deps" # without it AMD's lines are skipped
        gpu_isa
    else
        tail -40 "$work/gpu_code"
        echo "not ok - GPU code of every architecture does not compile"
        echo "build/gpu: GPU code of every architecture does not compile" >>"$RF_FAILURES"
        count 0 1 0
    fi
}

# py_start NAME BUILD PYTEST_ARGS...: pytest in the background. py_end NAME BUILD: its output, counted from its report
py_start() {
    local name=$1 dir=$2
    shift 2
    python=$(scripts/pyenv.sh build/pyenv) || return
    RF_BUILD=$PWD/$dir RF_FAKE_SERVER=$PWD/$dir/tests/unit/serve/fake_server "$python" -m pytest -q -rfE --durations=20 --durations-min=3 --tb=short \
        --import-mode=importlib -p no:cacheprovider --junitxml="$work/$name.xml" "$@" >"$work/$name.log" 2>&1 &
    echo $! >"$work/$name.pid"
}
py_end() {
    local name=$1 p=0 f=1 s=0
    [ ! -f "$work/$name.pid" ] || wait "$(cat "$work/$name.pid")"
    [ ! -f "$work/$name.log" ] || cat "$work/$name.log"
    [ -z "${python:-}" ] || "$python" - "$work/$name.xml" "$2" "$RF_FAILURES" >"$work/$name.sum" <<'PY'
import sys, xml.etree.ElementTree as E
report, build, failures = sys.argv[1:]
failures = open(failures, "a")
try:
    suite = E.parse(report).getroot().find("testsuite")
    n, bad, skip = int(suite.get("tests")), int(suite.get("failures")) + int(suite.get("errors")), int(suite.get("skipped"))
    for case in suite.iter("testcase"):
        for end in case:
            if end.tag in ("failure", "error"):
                print(f"{build}: {case.get('classname')}::{case.get('name')}: {end.get('message', '')[:200]!r}", file=failures)
except Exception as e:
    n = bad = skip = 0
    print(f"{build}: no report of the Python tests: {e}", file=failures)
print(n - bad - skip, bad, skip) if n else print(0, 1, 0)
PY
    [ ! -f "$work/$name.sum" ] || read -r p f s <"$work/$name.sum"
    count "$p" "$f" "$s"
    say "$name: $p passed, $f failed, $s skipped"
}

for pass in $passes; do
    case $pass in
    plain)
        say "C tests"
        build build && c_tests build .
        ;;
    arm)
        say "kernels for ARM, under qemu"
        if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null; then
            build build-arm --cross-file tests/aarch64.ini -Dkernels_only=true && RF_TEST_WRAP=qemu-aarch64 RF_TEST_SMALL=1 c_tests build-arm .
        else
            echo "skipped: no aarch64-linux-gnu-gcc or no qemu-aarch64 (make test installs gcc-aarch64-linux-gnu and qemu-user)"
            count 0 0 1
        fi
        ;;
    python)
        say "Python tests"
        # models and text compute, servers and browsers wait: side by side
        if build build; then
            py_start models build tests/golden tests/unit
            py_start outside build tests/api tests/e2e tests/fault
            build_ahead
            py_end models build
            py_end outside build
            build_waits
        fi
        ;;
    asan | asan-rest)
        say "again under ASan and UBSan: $pass"
        export ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
        export RF_TEST_QUICK=1 RF_TEST_SANITIZED=1
        if ! build build-asan $asan_args; then
            :
        elif [ $pass = asan ]; then
            c_tests build-asan .
            say "what Hopper alone has, emulated"
            RF_EMU_HOPPER=1 RF_EMU_ORDER=random c_tests build-asan '/kernels/test_gpu_gemm'
        else
            py_start asan-models build-asan -m "not slow" tests/golden tests/unit
            py_start asan-outside build-asan -m "not slow" tests/api tests/e2e tests/fault
            py_end asan-models build-asan
            py_end asan-outside build-asan
        fi
        unset RF_TEST_QUICK RF_TEST_SANITIZED
        ;;
    emulator)
        say "GPU kernels on the emulated drivers: both widths of a warp, threads in three orders"
        for way in "cuda:0 random" "hip:0 forward" "hip:0 backward"; do
            say "$way"
            RF_TEST_DEVICE=${way% *} RF_EMU_ORDER=${way#* } c_tests build '/kernels/test_gpu_'
        done
        say "single tokens by plain arithmetic, as on chips that do not attend on their matrix unit"
        RF_EMU_DECODE=plain RF_TEST_DEVICE=hip:0 c_tests build '/kernels/test_gpu_ops'
        say "what Hopper alone has: its products of many rows, clusters"
        RF_EMU_HOPPER=1 RF_EMU_ORDER=random RF_TEST_DEVICE=cuda:0 c_tests build '/kernels/test_gpu_gemm'
        case " $passes " in *" gpu_code "*) ;; *) gpu_isa ;; esac
        ;;
    gpu_code)
        say "GPU code of every architecture"
        gpu_code
        ;;
    tsan)
        say "threads under TSan"
        export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:history_size=0 # 512 threads of a block have a history each
        build build-tsan $tsan_args &&
            RF_TEST_QUICK=1 RF_TEST_SMALL=1 c_tests build-tsan '/unit/(backend|engine|serve)/|/kernels/test_gpu_' &&
            RF_EMU_HOPPER=1 RF_TEST_QUICK=1 RF_TEST_SMALL=1 c_tests build-tsan '/kernels/test_gpu_gemm'
        ;;
    lint)
        say lint
        if python3 scripts/lint.py; then count 1 0 0; else count 0 1 0; fi
        ;;
    *)
        echo "tests/run.sh: no pass $pass" >&2
        exit 2
        ;;
    esac
done

echo
[ ! -s "$RF_FAILURES" ] || sed 's/^/failed: /' "$RF_FAILURES"
line="$passed passed, $failed failed"
[ "$skipped" = 0 ] || line="$line, $skipped skipped"
echo "$line"
[ "$failed" = 0 ]
