#!/bin/sh
# Builds and tests everything.   usage: sh tests/run.sh [--quick | --long | --accuracy] [--help]
#
#   (none)    sanitizer build, optimised build, the kernels without oneDNN, 3 seconds of each fuzz target: under 25 minutes on 2 cores
#   --quick   sanitizer build and its tests alone
#   --long    as without a flag, with a minute of each fuzz target
#   --accuracy   instead of the tests: longer runs of each method beside its baseline, as a table (docs/accuracy.md); KD_SEEDS runs of each (3); 5 minutes
#
# Installs the Debian packages that are missing. Logs of builds and tests go to build/log; the last line counts the tests.
set -eu
cd "$(dirname "$0")/.."

quick=no accuracy=no fuzz_seconds=3
for flag in "$@"; do
  case $flag in
    --quick) quick=yes ;;
    --accuracy) accuracy=yes ;;
    --long) fuzz_seconds=60 ;;
    --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown flag $flag (--quick, --long, --accuracy, --help)" >&2; exit 2 ;;
  esac
done

jobs=$(nproc)
log=build/log
passed=0 failed=0 broken=
mkdir -p "$log"
# Idle threads must not spin where several tests share the cores.
export OMP_WAIT_POLICY=PASSIVE UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

# step NAME COMMAND...: runs it with its output in a log; says how long it took, or shows the end of the log.
step() {
  name=$1; shift
  printf '%-28s ' "$name"
  begin=$(date +%s)
  if "$@" </dev/null >"$log/$name.log" 2>&1; then
    echo "ok ($(($(date +%s) - begin)) s)"
  else
    echo "FAILED ($(($(date +%s) - begin)) s), the end of $log/$name.log:"
    tail -40 "$log/$name.log" | sed 's/^/    /'
    broken="$broken $name"
    return 1
  fi
}
build() { cmake --preset "$1" -DKD_TESTS=ON && nice cmake --build "build/$1" --parallel "$jobs" ${2:+--target "$2"}; }
# suite NAME FOLDER CTEST-FLAGS...: a step that runs tests and adds to the counts.
suite() {
  name=$1 folder=$2; shift 2
  step "$name" ctest --test-dir "$folder" --output-on-failure --timeout 600 "$@" || true
  line=$(grep -E '^[0-9]+% tests passed' "$log/$name.log" || true)
  [ -n "$line" ] || return 0
  bad=$(echo "$line" | sed 's/.*, \([0-9]*\) tests failed.*/\1/')
  all=$(echo "$line" | sed 's/.*out of \([0-9]*\).*/\1/')
  failed=$((failed + bad)) passed=$((passed + all - bad))
}

sh tests/setup.sh build jit test data

if [ $accuracy = yes ]; then
  step build-release build release method_run
  exec sh tests/methods/accuracy.sh build/release/tests/methods/method_run "${KD_SEEDS:-3}"
fi
if step build-dev build dev; then
  suite test-dev build/dev -LE 'slow|perf' -j "$jobs"
fi
if [ $quick = no ]; then
  if step build-release build release; then
    suite test-release build/release -LE perf -j "$jobs"
    suite test-perf build/release -L perf
  fi
  if step build-nojit build nojit tests/kernels/all; then
    suite test-nojit build/nojit/tests/kernels -LE perf -j "$jobs"
  fi
  if step build-fuzz sh tests/fuzz.sh --build; then
    for target in $(sh tests/fuzz.sh --list); do
      if step "$target" sh tests/fuzz.sh "$fuzz_seconds" "$target"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
  fi
fi

# A step that broke without a failed test (a build, say) is one failure, so that the last line never hides it.
if [ -n "$broken" ] && [ $failed = 0 ]; then failed=1; fi
[ -z "$broken" ] || echo "failed:$broken"
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
