#!/bin/sh
# kdc beside PyTorch: builds kdc (release and nojit) and runs tests/bench/bench.py.   usage: sh tests/bench/run.sh [options of bench.py]
#   --only a,b   these workloads     --threads "2 1"   --rounds 3     --quick   a short run     --check-only   only: do both compute the same
#   --minutes N  disturbed rows are measured again as long as all takes less
#   --out FILE   keeps results there; what is there already stays and is in the table     --table   only prints the table of --out
#   --doc FILE   puts the table into a document, such as docs/performance.md, instead of printing it
#   KD_BENCH=DIR where data and runs go (build/bench)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
command -v python3 >/dev/null || { echo "tests/bench/run.sh needs python3" >&2; exit 2; }
case " $* " in *" --table "*) ;; *)
  for preset in release nojit; do
    (cd "$root" && cmake --preset "$preset" && cmake --build "build/$preset" --target kdc) >"${TMPDIR:-/tmp}/kdc-bench-build.$$" 2>&1 || { cat "${TMPDIR:-/tmp}/kdc-bench-build.$$" >&2; exit 1; }
    rm -f "${TMPDIR:-/tmp}/kdc-bench-build.$$"
  done ;;
esac
exec env PYTHONDONTWRITEBYTECODE=1 python3 "$root/tests/bench/bench.py" --kdc "$root/build/release/kdc" --nojit "$root/build/nojit/kdc" --work "${KD_BENCH:-$root/build/bench}" "$@"
