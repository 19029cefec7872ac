#!/bin/sh
# Replays each fuzz target's corpus, then fuzzes it.   usage: sh tests/fuzz.sh SECONDS [TARGET...]
#   sh tests/fuzz.sh --build      only builds the targets (clang with libFuzzer and sanitizers)
#   sh tests/fuzz.sh --list       names the targets that are built
# What is found new is kept in build/fuzz/found/TARGET; an input that crashes, in build/fuzz/crash-...
set -eu
cd "$(dirname "$0")/.."
bin=build/fuzz/tests/fuzz

targets() { find "$bin" -maxdepth 1 -type f -perm -u+x -name 'fuzz_*' 2>/dev/null | sed 's|.*/||' | sort; }
build() { cmake --preset fuzz && nice cmake --build build/fuzz --parallel "$(nproc)" --target tests/fuzz/all; }

case ${1:-} in
  --build) build; exit ;;
  --list) targets; exit ;;
  ''|*[!0-9]*) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
seconds=$1; shift
[ -d "$bin" ] || build
[ $# -gt 0 ] || set -- $(targets)

# fuzz_check begins with every program there is: files, and the tests' cases.
programs() {
  rm -rf "$1"; mkdir -p "$1"
  find stdlib examples tests -name '*.kd' -size -9k | while read -r f; do cp "$f" "$1/$(echo "$f" | tr / -)"; done
  awk -v out="$1" '/^== / { close(f); f = out "/case-" ++n; on = 1; next } /^--/ { on = 0 } on { print > f }' tests/elaborate/*/*.txt tests/schemes/*.txt
}
for target in "$@"; do
  found=build/fuzz/found/$target
  corpus=tests/fuzz/corpus/$target
  mkdir -p "$found"
  [ -d "$corpus" ] || corpus=
  if [ "$target" = fuzz_check ]; then corpus=build/fuzz/seeds; programs $corpus; fi
  echo "$target: replaying ${corpus:-no corpus}"
  "$bin/$target" -runs=0 "$found" $corpus
  echo "$target: fuzzing for $seconds s"
  "$bin/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -artifact_prefix=build/fuzz/ -print_final_stats=1 "$found" $corpus
done
