#!/bin/sh
# Runs the methods' programs longer, each beside its baseline, and prints a table.
#   usage: accuracy.sh METHOD_RUN [SEEDS]      SEEDS runs of each (3), as many at once as there are cores, each on one thread
#          accuracy.sh --check                 docs/accuracy.md lists every program, as it describes itself, and a figure of each
# Exit code: 1 where a run fails or a figure is beyond the floor that stands in its program. With KD_UPDATE_GOLDEN=1 the page is written anew.
set -eu
cd "$(dirname "$0")/../.."
page=docs/accuracy.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The programs as they describe themselves: the comment that begins each one, and what stands between its expectations.
programs() {
  echo '| program | method | what its test holds it to |'
  echo '| --- | --- | --- |'
  for f in tests/methods/*.kd; do
    awk -v name="$(basename "$f")" '
      function add(to, s) { return to == "" ? s : to " " s }
      /^\/\/ (variant |let |expect:|precision:|accuracy:|baseline:|How far it comes)/ { next }
      /^\/\/ / { s = substr($0, 4); gsub(/\|/, "\\|", s); if (head) held = add(held, s); else method = add(method, s); next }
      /^report |^scheme / { tests = 1 }
      { if (method != "") head = 1; if (!tests) held = "" }
      END { printf "| [%s](../tests/methods/%s) | %s | %s |\n", name, name, method, held }' "$f"
  done
}

# section NAME FILE: puts the file between the page's marks of that name.
section() {
  awk -v begin="<!-- $1 -->" -v text="$2" '
    $0 == begin { print; print ""; while ((getline line < text) > 0) print line; print ""; skip = 1; next }
    skip && $0 == "<!-- end -->" { skip = 0 }
    !skip' "$page" >"$work/page" && cp "$work/page" "$page"
}

programs >"$work/programs"
[ -z "${KD_UPDATE_GOLDEN:-}" ] || section programs "$work/programs"
if [ "${1:-}" = --check ]; then
  bad=0
  while read -r line; do grep -qxF -- "$line" "$page" || { echo "$page lacks this line; KD_UPDATE_GOLDEN=1 writes it: $line" >&2; bad=1; }; done <"$work/programs"
  for f in tests/methods/*.kd; do
    grep -q "^| $(basename "$f" .kd) |" "$page" || { echo "$page has no figure of $f: sh tests/run.sh --accuracy measures it" >&2; bad=1; }
  done
  exit $bad
fi

[ -x "${1:-}" ] || { sed -n '3,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
run=$(realpath "$1") seeds=${2:-3} begin=$(date +%s) code=0
cd tests/methods
printf '%s\n' *.kd | OMP_WAIT_POLICY=PASSIVE xargs -P "$(nproc)" -n 1 "$run" --accuracy "$seeds" >"$work/lines" || code=1
cd ../..
{
  echo '| program | figure | baseline | without | with the method | difference | floor | seconds |'
  echo '| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |'
  sort "$work/lines" | awk -F '\t' '{ sub(/\.kd$/, "", $1); printf "| %s | %s | %s | %s | %s | %s ± %s | %s | %s |\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 }'
} >"$work/table"
cat "$work/table"
echo
echo "$(wc -l <"$work/lines") figures, $seeds seeds each, $(($(date +%s) - begin)) s$([ $code = 0 ] || echo '; some failed')"
[ -z "${KD_UPDATE_GOLDEN:-}" ] || [ $code != 0 ] || {
  { echo "\`sh tests/run.sh --accuracy\`, with $seeds seeds, on $(nproc) cores of $(uname -m), $(date +%Y-%m-%d):"; echo; cat "$work/table"; } >"$work/measured"
  section measured "$work/measured"
}
exit $code
