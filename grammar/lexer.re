/* lexer.re: bytes to tokens. Newlines are flags on the token after them, comments are kept beside; grammar/parser.y numbers the tokens. */
#include "compiler/front/syntax.h"
#include "grammar/parser.h"
#include <locale.h>
#include <math.h>
#include <stdlib.h>

static kd_span span_of(kd__parser *p, const unsigned char *from) {
  const unsigned char *base = (const unsigned char *)p->src->text;
  return (kd_span){ p->src, (uint32_t)(from - base), (uint32_t)(p->cursor - from) };
}

/* --- names and words ------------------------------------------------------------------------------------------------------- */
static void name(kd__parser *p, kd__token *t, const unsigned char *from) {
  size_t n = (size_t)(p->cursor - from);
  char small[64], *s = n < sizeof small ? memcpy(small, from, n) : kd__arena_strndup(p->arena, (const char *)from, n);
  if (n < sizeof small) small[n] = 0;
  void **at = kd__map_at(&p->names, s);
  if (!*at) {
    kd__word *w = KD_NEW(p->arena, kd__word);
    *w = (kd__word){ kd__arena_strndup(p->arena, s, n), NAME, KD__PLAIN };
    *at = w;
  }
  t->text = ((const kd__word *)*at)->text;
  t->kind = ((const kd__word *)*at)->kind;
}

/* --- numbers ---------------------------------------------------------------------------------------------------------------- */
static void number(kd__parser *p, kd__token *t, const unsigned char *from) {
  size_t n = (size_t)(p->cursor - from), k = 0;
  char *s = kd__arena_strndup(p->arena, (const char *)from, n);
  for (size_t i = 0; i < n; i++) if (s[i] != '_') s[k++] = s[i];
  s[k] = 0;
  locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);           /* a program around us may have chosen decimal commas */
  t->num = c ? strtod_l(s, NULL, c) : strtod(s, NULL);
  if (c) freelocale(c);
  t->kind = NUMBER;
  t->text = s;
  if (isinf(t->num)) { kd__syntax_report(p, KD_D_NUMBER_LARGE, span_of(p, from)); t->num = 0; }
}

/* A number that is written in another way: said once, then taken as 0, so that what follows is judged as usual. */
static void bad_number(kd__parser *p, kd__token *t, const unsigned char *from, const char *why) {
  kd_diag *d = kd__syntax_report(p, KD_D_NUMBER, span_of(p, from), (int)(p->cursor - from), (const char *)from);
  if (d) kd__diag_help(p->sink, d, "%s", why);
  t->kind = NUMBER; t->text = "0"; t->num = 0;
}

/* --- strings ------------------------------------------------------------------------------------------------------------------ */
static int hex(unsigned char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

static char *utf8(char *out, uint32_t u) {
  if (u < 0x80) { *out++ = (char)u; return out; }
  if (u < 0x800) *out++ = (char)(0xc0 | u >> 6);
  else if (u < 0x10000) { *out++ = (char)(0xe0 | u >> 12); *out++ = (char)(0x80 | (u >> 6 & 63)); }
  else { *out++ = (char)(0xf0 | u >> 18); *out++ = (char)(0x80 | (u >> 12 & 63)); *out++ = (char)(0x80 | (u >> 6 & 63)); }
  *out++ = (char)(0x80 | (u & 63));
  return out;
}

/* After a backslash: returns how many bytes were read, 0 when it is no escape. */
static size_t escape(const unsigned char *s, char **out) {
  static const char from[] = "nt0\"\\", to[] = "\n\t\0\"\\";
  const char *f = *s ? strchr(from, *s) : NULL;
  if (f) { *(*out)++ = to[f - from]; return 1; }
  if (s[0] != 'u' || s[1] != '{') return 0;
  uint32_t u = 0;
  size_t i = 2;
  for (; i < 8 && hex(s[i]) >= 0; i++) u = u * 16 + (uint32_t)hex(s[i]);
  if (i == 2 || s[i] != '}' || u > 0x10ffff || (u >= 0xd800 && u < 0xe000)) return 0;
  *out = utf8(*out, u);
  return i + 1;
}

/* From the opening quote to the closing one, or to the line's end. */
static void string(kd__parser *p, kd__token *t, const unsigned char *from) {
  const unsigned char *s = from + 1, *end = s;
  while (end < p->limit && *end != '\n' && *end != '"') end += *end == '\\' && end + 1 < p->limit && end[1] != '\n' ? 2 : 1;
  bool closed = end < p->limit && *end == '"';
  char *out = kd__arena_get(p->arena, (size_t)(end - s) + 1), *o = out;
  while (s < end) {
    if (*s != '\\') { *o++ = (char)*s++; continue; }
    size_t n = escape(s + 1, &o);
    if (n) { s += 1 + n; continue; }
    const unsigned char *after = p->cursor;
    p->cursor = s + 2 > end ? end : s + 2;
    kd_diag *d = closed ? kd__syntax_report(p, KD_D_ESCAPE, span_of(p, s)) : NULL;
    if (d) kd__diag_help(p->sink, d, "escapes are \\n \\t \\0 \\\" \\\\ and \\u{e9}");
    p->cursor = after;
    s += s + 2 > end ? 1 : 2;
  }
  p->cursor = closed ? end + 1 : end;
  t->kind = STRING;
  t->text = out;
  t->num = (double)(o - out);
  if (closed) return;
  kd__syntax_report(p, KD_D_STRING_OPEN, span_of(p, from));
  t->cut = true;
}

/* --- what is not in the language ---------------------------------------------------------------------------------------------- */
/* Something from another language: says what to write, and gives the token that was meant. */
static void foreign(kd__parser *p, kd__token *t, const unsigned char *from, const char *help, int meant) {
  kd_diag *d = kd__syntax_report(p, KD_D_FOREIGN, span_of(p, from), (int)(p->cursor - from), (const char *)from);
  if (d) kd__diag_help(p->sink, d, "%s", help);
  t->kind = meant;
  t->told = true;
}

/* A run of characters outside ASCII is one fault: a word in another script, say. */
static void bad_character(kd__parser *p, kd__token *t, const unsigned char *from) {
  size_t n = 1;
  if (*from >= 0xc0) while ((from[n] & 0xc0) == 0x80) n++;
  while (*from >= 0x80 && *p->cursor >= 0x80 && p->cursor < p->limit) p->cursor++;
  kd_span at = span_of(p, from);
  uint32_t u = n == 1 ? *from : n == 2 ? *from & 31u : n == 3 ? *from & 15u : *from & 7u;
  for (size_t i = 1; i < n; i++) u = u << 6 | (from[i] & 63u);
  const char *what = kd__sink_full(p->sink) ? "" : *from < 0x20 || *from == 0x7f ? kd__arena_printf(p->arena, "byte 0x%02x", *from)
                   : kd__arena_printf(p->arena, "character `%.*s`%s", (int)n, (const char *)from, u < 0x80 ? "" : kd__arena_printf(p->arena, " (U+%04X)", u));
  kd__syntax_report(p, KD_D_CHARACTER, at, what);
  t->kind = KD__YYUNDEF;
  t->told = true;
}

static void single_quotes(kd__parser *p, kd__token *t, const unsigned char *from) {
  while (p->cursor < p->limit && *p->cursor != '\n' && *p->cursor != '\'') p->cursor++;
  if (*p->cursor == '\'') p->cursor++;
  kd_diag *d = kd__syntax_report(p, KD_D_FOREIGN, span_of(p, from), 1, "'");
  if (d) kd__diag_help(p->sink, d, "strings stand in double quotes: \"...\"");
  t->kind = STRING; t->text = ""; t->told = true;
}

static void hash_comment(kd__parser *p, kd__token *t, const unsigned char *from) {
  foreign(p, t, from, "comments begin with `//`", 0);
  t->told = false;
  while (p->cursor < p->limit && *p->cursor != '\n') p->cursor++;
}

static void block_comment(kd__parser *p, kd__token *t, const unsigned char *from) {
  foreign(p, t, from, "comments begin with `//`, on each line", 0);
  t->told = false;
  const unsigned char *end = p->endless ? NULL : (const unsigned char *)strstr((const char *)p->cursor, "*/");
  p->endless = !end;
  for (; p->cursor < (end ? end + 2 : p->limit) && (end || *p->cursor != '\n'); p->cursor++) p->line = p->line || *p->cursor == '\n';
}

static void comment(kd__parser *p, const unsigned char *from, bool doc) {
  kd_span at = span_of(p, from);
  if (doc && p->ndoc++ == 0) p->doc = (uint32_t)p->syntax->comment.n;
  KD_PUSH(p->arena, p->syntax->comment, (kd_comment){ at.at, at.len, doc });
}

/* --- tokens -------------------------------------------------------------------------------------------------------------------- */
/*!re2c
  re2c:define:YYCTYPE = "unsigned char";
  re2c:define:YYCURSOR = p->cursor;
  re2c:define:YYMARKER = mark;
  re2c:yyfill:enable = 0;
  digits = [0-9]+ ("_" [0-9]+)*;
  number = digits ("." digits)? ([eE] [+-]? digits)?;
  word = [A-Za-z_] [A-Za-z0-9_]*;
*/
void kd__lex(kd__parser *p, kd__token *t) {
  const unsigned char *from, *mark;
  *t = (kd__token){ 0 };
  for (;;) {
    from = p->cursor;
    /*!re2c
      [ \t\r]+                     { continue; }
      "\n"                         { p->line = true; continue; }
      "\x00"                       { if (from < p->limit) { bad_character(p, t, from); goto done; } p->cursor = p->limit; t->kind = END; goto done; }
      "\xef\xbb\xbf"               { if ((const char *)from == p->src->text) continue; bad_character(p, t, from); goto done; }
      "///" "/"+ [^\n\x00]*        { comment(p, from, false); continue; }
      "///" [^/\n\x00] [^\n\x00]*  { comment(p, from, true); continue; }
      "///"                        { comment(p, from, true); continue; }
      "//" [^/\n\x00] [^\n\x00]*   { comment(p, from, false); continue; }
      "//"                         { comment(p, from, false); continue; }

      word                         { name(p, t, from); goto done; }
      number                       { number(p, t, from); goto done; }
      number word                  { bad_number(p, t, from, "numbers are decimal and have no suffix; a word after one needs a space"); goto done; }
      "." digits                   { bad_number(p, t, from, "a number begins with a digit: 0.5"); goto done; }
      digits "." / [^.A-Za-z0-9_]  { bad_number(p, t, from, "a number ends with a digit: 1.0"); goto done; }
      ["]                          { string(p, t, from); goto done; }

      "("  { t->kind = '('; goto done; }    ")"  { t->kind = ')'; goto done; }
      "["  { t->kind = '['; goto done; }    "]"  { t->kind = ']'; goto done; }
      "{"  { t->kind = '{'; goto done; }    "}"  { t->kind = '}'; goto done; }
      ","  { t->kind = ','; goto done; }    ":"  { t->kind = ':'; goto done; }
      ";"  { t->kind = SEP; goto done; }    "."  { t->kind = '.'; goto done; }
      "?"  { t->kind = '?'; goto done; }    "="  { t->kind = '='; goto done; }
      "+"  { t->kind = '+'; goto done; }    "-"  { t->kind = '-'; goto done; }
      "*"  { t->kind = '*'; goto done; }    "/"  { t->kind = '/'; goto done; }
      "%"  { t->kind = '%'; goto done; }    "^"  { t->kind = '^'; goto done; }
      "<"  { t->kind = '<'; goto done; }    ">"  { t->kind = '>'; goto done; }
      "==" { t->kind = EQ; goto done; }     "!=" { t->kind = NE; goto done; }
      "<=" { t->kind = LE; goto done; }     ">=" { t->kind = GE; goto done; }
      ".." { t->kind = DOTS; goto done; }   "->" { t->kind = ARROW; goto done; }
      "|>" { t->kind = PIPE; goto done; }

      "&&" | "&"       { foreign(p, t, from, "write `and`", AND); goto done; }
      "||" | "|"       { foreign(p, t, from, "write `or`; a pipe is `|>`", OR); goto done; }
      "!"              { foreign(p, t, from, "write `not`", NOT); goto done; }
      "**"             { foreign(p, t, from, "a power is written a^b", '^'); goto done; }
      "@"              { foreign(p, t, from, "dot(a, b, over: D) sums products along an axis", '*'); goto done; }
      "=>"             { foreign(p, t, from, "a function is written fn(x) = x + 1", '='); goto done; }
      ":="             { foreign(p, t, from, "a binding is written x = 1", '='); goto done; }
      [-+*/%^] "="     { foreign(p, t, from, "write it out: x = x + 1", '='); goto done; }
      "..." | "..="    { foreign(p, t, from, "a range is a..b and ends before b; the rest of the axes is `..`", DOTS); goto done; }
      "#"              { hash_comment(p, t, from); continue; }
      "/*"             { block_comment(p, t, from); continue; }
      "\xe2\x88\x92"   { foreign(p, t, from, "write -", '-'); goto done; }
      "\xc3\x97"       { foreign(p, t, from, "write *", '*'); goto done; }
      "\xe2\x89\xa4"   { foreign(p, t, from, "write <=", LE); goto done; }
      "\xe2\x89\xa5"   { foreign(p, t, from, "write >=", GE); goto done; }
      "\xe2\x89\xa0"   { foreign(p, t, from, "write !=", NE); goto done; }
      "\xe2\x86\x92"   { foreign(p, t, from, "write ->", ARROW); goto done; }
      "'"              { single_quotes(p, t, from); goto done; }
      *                { bad_character(p, t, from); goto done; }
    */
  }
done:
  t->span = span_of(p, from);
  t->line = p->line;
  t->doc = p->doc; t->ndoc = p->ndoc;
  p->line = false;
  p->ndoc = 0;
}
