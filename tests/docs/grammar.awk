# grammar.awk: writes docs/grammar.md from grammar/parser.y.   usage: awk -f grammar.awk grammar/parser.y > docs/grammar.md
# What is left of a rule: no actions, no labels, no recovery from errors; left recursion is written { }, what may be missing [ ].
BEGIN { if (ARGC != 2) exit 2 }
{ text = text $0 "\n" }

function strip(s,   out, i, c, depth, quote) {   # without comments, actions, labels
  depth = 0
  for (i = 1; i <= length(s); i++) {
    c = substr(s, i, 1)
    if (!depth && substr(s, i, 2) == "/*") { i = i + index(substr(s, i), "*/"); continue }
    if (c == "\"") { quote = i; do i++; while (substr(s, i, 1) != "\"" || substr(s, i - 1, 1) == "\\"); if (!depth) out = out substr(s, quote, i - quote + 1); continue }
    if (c == "{") { depth++; continue }
    if (c == "}") { depth--; continue }
    if (depth) continue
    if (c == "[") { while (substr(s, i, 1) != "]") i++; continue }
    out = out c
  }
  return out
}

# Words of a rule, literals with their quotes; "|" between alternatives is the literal-free bar.
function words(s, w,   n, i, c, from) {
  n = 0
  for (i = 1; i <= length(s);) {
    c = substr(s, i, 1)
    if (c ~ /[ \t\n]/) { i++; continue }
    from = i
    if (c == "\"") { i++; while (substr(s, i, 1) != "\"") i++; i++ }
    else if (c ~ /[A-Za-z_%]/) while (i <= length(s) && substr(s, i, 1) ~ /[A-Za-z_0-9%]/) i++
    else i++
    w[++n] = substr(s, from, i - from)
  }
  return n
}

function line(left, alt, n,   i, head, all) {
  for (i = 1; i <= n; i++) all = all (i > 1 ? " | " : "") alt[i]
  if (length(all) <= 110) { alt[1] = all; n = 1 }
  head = sprintf("%-12s = ", left)
  for (i = 1; i <= n; i++) {
    print head alt[i] (i == n ? " ;" : "")
    head = sprintf("%-12s | ", "")
  }
}

function rule(name, s,   w, n, i, alt, k, drop, first, rec, nrec, base, nbase, again, rest, t, empty, ops, list) {
  n = words(s, w)
  k = 0; t = ""; drop = 0
  for (i = 1; i <= n + 1; i++) {
    if (i > n || w[i] == "|") { if (!drop) alt[++k] = t == "" ? "%empty" : t; t = ""; drop = 0; continue }
    if (w[i] == "error" || w[i] == "junk") { drop = 1; continue }
    if (w[i] == "%prec") { i++; continue }
    if (w[i] == "NAME" || w[i] == "NUMBER" || w[i] == "STRING") w[i] = toupper(w[i])
    t = t (t == "" ? "" : " ") w[i]
  }
  if (name == "expr_n") { print "expr_n       = (an expr that begins with a name or a number) ;"; return }
  nrec = nbase = empty = 0
  for (i = 1; i <= k; i++) {
    if (alt[i] == "%empty") { empty = 1; continue }
    rest = substr(alt[i], length(name) + 2)
    if (index(alt[i], name " ") == 1 && index(" " rest " ", " " name " ") == 0) rec[++nrec] = rest
    else if (name == "expr" && alt[i] ~ /^expr "[^"]+" expr$/) { ops = ops (ops == "" ? "" : " | ") substr(alt[i], 6, length(alt[i]) - 10) }
    else if (name == "name" && i > 1) list = list (list == "" ? "" : " | ") alt[i]
    else base[++nbase] = alt[i]
  }
  if (ops != "") base[++nbase] = "expr ( " ops " ) expr"
  if (list != "") base[++nbase] = "(a word of a statement or clause)"
  if (empty && nrec) { t = ""; for (i = 1; i <= nrec; i++) t = t (i > 1 ? " | " : "") rec[i]; base[1] = "{ " t " }"; nbase = 1 }
  else if (nrec) {
    t = ""
    for (i = 1; i <= nrec; i++) t = t (i > 1 ? " | " : "") rec[i]
    again = ""
    for (i = 1; i <= nbase; i++) again = again (i > 1 ? " | " : "") base[i]
    base[1] = (nbase > 1 ? "( " again " )" : again) " { " t " }"; nbase = 1
  } else if (empty) {
    again = ""
    for (i = 1; i <= nbase; i++) again = again (i > 1 ? " | " : "") base[i]
    if (again == "") return
    base[1] = "[ " again " ]"; nbase = 1
  }
  if (nbase) line(name, base, nbase)
}

END {
  print "# Grammar\n"
  print "Made from `grammar/parser.y` by `tests/docs/grammar.awk`; a test fails where they differ. [language.md](language.md) says what it means."
  print "`{ }` any number, `[ ]` may be missing; `SEP` is the end of a line or `;` (see language.md), NAME, NUMBER and STRING are tokens.\n"
  body = substr(text, index(text, "\n%%\n") + 4)
  body = substr(body, 1, index(body, "\n%%\n"))
  body = strip(body)
  print "```text"
  while (match(body, /;/)) {
    # a `;` that ends a rule stands outside of quotes: literals hold none
    r = substr(body, 1, RSTART - 1)
    body = substr(body, RSTART + 1)
    if (match(r, /[a-z_]+[ \n]*:/)) {
      name = substr(r, RSTART, RLENGTH - 1)
      gsub(/[ \n]/, "", name)
      if (name != "open" && name != "junk") rule(name, substr(r, RSTART + RLENGTH))
    }
  }
  print "```\n"
  print "## Operators, loosest first\n"
  print "```text"
  n = split(text, l, "\n")
  for (i = 1; i <= n; i++)
    if (l[i] ~ /^%(left|right|nonassoc|precedence) / && l[i] !~ /REPEAT_NAME|epochs/) {
      s = l[i]
      kind = s; sub(/^%/, "", kind); sub(/ .*/, "", kind)
      sub(/^%[a-z]+ /, "", s); sub(/ *\/\*.*/, "", s)
      sub(/LAMBDA/, "fn(...) =", s); sub(/NEGATIVE/, "-x", s); sub(/"else"/, "if then else", s)
      gsub(/"/, "", s)
      printf "%-28s %s\n", s, kind == "left" ? "left" : kind == "right" ? "right" : kind == "nonassoc" ? "does not chain" : "prefix"
    }
  print "```"
}
