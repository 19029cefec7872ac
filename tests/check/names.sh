#!/bin/sh
# Names test: what the library defines, the compiler and the runtime know nothing of.   usage: names.sh ROOT
# No word of their sources, be it an identifier, in a string, a table or a comment, is the name of a definition of stdlib/, but for the English
# words of tests/check/names.txt, each with its reason; a line of that file which excuses nothing fails too.
set -eu
cd "$1"
grep -hoE '^(loss|net|transform|fn|optimizer|metric|data|scheme) [A-Za-z_][A-Za-z_0-9]*\(' -r stdlib --include='*.kd' | sed 's/^[a-z]* //; s/($//' | sort -u |
awk '
  FILENAME == "-" { name[$1] = 1; names++; next }
  FILENAME == "tests/check/names.txt" {
    if (/^#/ || !NF) next
    if (NF < 2) { bad++; print FILENAME ": `" $1 "` has no reason" }
    if (!($1 in name)) { bad++; print FILENAME ": `" $1 "` is no definition of the library" }
    excused[$1] = 1
    next
  }
  FNR == 1 { files++ }
  {
    n = split($0, word, /[^A-Za-z_0-9]+/)
    for (i = 1; i <= n; i++) {
      if (!(word[i] in name)) continue
      if (word[i] in excused) { met[word[i]] = 1; continue }
      bad++
      if (!seen[word[i]]++) print FILENAME ":" FNR ": `" word[i] "` is a definition of the library: name one of the two otherwise (help texts belong into stdlib/help.kd)," \
                                  " or, if it is an English word met by chance, give its reason in tests/check/names.txt"
    }
  }
  END {
    for (w in excused) if (!(w in met)) { bad++; print "tests/check/names.txt: `" w "` is in no source" }
    print names " names of the library, " files " files, " bad + 0 " findings"
    exit bad > 0 || names == 0
  }' - tests/check/names.txt $(find compiler runtime grammar -type f \( -name '*.[chy]' -o -name '*.re' -o -name '*.def' -o -name '*.inc' \) | sort)
