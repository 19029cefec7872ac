#!/bin/sh
# Executes the documentation: README.md and docs/*.md.   usage: docs.sh ROOT KDC TABLES
#   ```kd       a file in the language: `kdc check` must find neither an error nor a warning in it
#   ```kd run   such a file that is also run, with the data in examples/; its report must have no value that is not finite
#   ```kd frame a file that begins every later `kd run` of its page; a page's runs go in their order, and the last one's folder is runs/teacher
#   ```console  lines that begin with `$ ` are run in the repository, and what they print must be what the block shows; runs go to a scratch folder
# Every module of stdlib/ must stand in the table of its README.
# Links to files of the repository must lead somewhere; docs/reference.md must be what TABLES prints, docs/grammar.md what grammar.awk does.
# KD_UPDATE_GOLDEN=1 writes these two anew.
set -eu
root=$1 kdc=$2 tables=$3
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
fail() { echo "$*" >&2; bad=1; }

# --- the reference ---
[ -z "${KD_UPDATE_GOLDEN:-}" ] || "$tables" >docs/reference.md
"$tables" >"$work/reference.md"
cmp -s docs/reference.md "$work/reference.md" || fail "docs/reference.md differs from the tables; KD_UPDATE_GOLDEN=1 writes it anew"

[ -z "${KD_UPDATE_GOLDEN:-}" ] || awk -f tests/docs/grammar.awk grammar/parser.y >docs/grammar.md
awk -f tests/docs/grammar.awk grammar/parser.y >"$work/grammar.text"
cmp -s docs/grammar.md "$work/grammar.text" || fail "docs/grammar.md differs from grammar/parser.y; KD_UPDATE_GOLDEN=1 writes it anew"

twice=$(grep -o '^| `[EWN][0-9]*`' docs/reference.md | sort | uniq -d)
[ -z "$twice" ] || fail "two messages have one number: $twice"

for f in stdlib/*.kd stdlib/*/*.kd; do
  grep -q "\`$(basename "$f" .kd)\`" stdlib/README.md || fail "the table of stdlib/README.md lacks $f"
done

# --- blocks: one file each, named after the document and the line where it begins ---
for doc in README.md stdlib/README.md docs/*.md; do
  name=$(echo "${doc%.md}" | tr / _)
  awk -v out="$work/$name" '
    /^```(kd|kd run|kd frame|console)$/ && !inside {
      inside = 1; kind = substr($0, 4); sub(/ frame$/, "", kind); sub(/kd run/, "run.kd", kind)
      file = out "." NR "." kind; printf "%s", kind == "run.kd" ? frame : "" > file
      framing = $0 ~ / frame$/; next }
    /^```/ { if (inside) { inside = 0; close(file) } else skip = !skip; next }
    inside { print > file; if (framing) frame = frame $0 "\n" }' "$doc"
  # links
  awk '/^```/ { code = !code; next } !code' "$doc" | grep -oE '\]\([^)#]+' | sed 's/^](//' | grep -v '^https\?:' | while read -r link; do
    at=$(dirname "$doc")/$link
    [ -e "$at" ] || echo "$doc: the link $link leads nowhere"
  done >>"$work/links"
done
[ ! -s "$work/links" ] || { cat "$work/links" >&2; bad=1; }

checked=0 trained=0 run=0
mkdir "$work/runs"
for f in $(ls "$work"/*.kd | sort -V); do
  if ! "$kdc" check "$f" >"$work/said" 2>&1 || grep -q ': warning:' "$work/said"; then cat "$work/said" >&2; fail "an example does not check: $(basename "$f")"; fi
  checked=$((checked + 1))
  case $f in *.run.kd)
    if ! "$kdc" run --quiet --data examples --out "$work/run" "$f" >"$work/said" 2>&1 || ! [ -s "$work/said" ] || grep -Eq 'nan|inf$' "$work/said"; then
      cat "$work/said" >&2; fail "an example does not run: $(basename "$f")"
    fi
    rm -rf "$work/runs/teacher"
    mv "$work/run" "$work/runs/teacher"
    trained=$((trained + 1)) ;;
  esac
done

mkdir "$work/bin"
ln -s "$kdc" "$work/bin/kdc"
for f in "$work"/*.console; do
  [ -e "$f" ] || continue
  grep '^\$ ' "$f" | sed 's/^\$ //' | while read -r line; do
    echo "\$ $line"
    PATH=$work/bin:$PATH XDG_CACHE_HOME=$work/cache sh -c "$line" 2>&1 || true
  done >"$work/got"
  if ! cmp -s "$f" "$work/got"; then diff "$f" "$work/got" >&2 || true; fail "a command prints something else: $(basename "$f")"; fi
  run=$((run + 1))
done

[ $checked -gt 0 ] && [ $run -gt 0 ] || fail "no examples were found"
[ $bad = 0 ] || exit 1
echo "$checked examples checked, $trained of them run, $run blocks of commands run"
