/* words.c: see words.h. A text is cut into words (names, numbers, strings, single signs) and spans between them; a change puts a piece of this text,
 * of the other one, or a number from a short list in the place of a piece. */
#include "tests/fuzz/words.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct piece { size_t at, end; } piece;
typedef struct words { const char *p; size_t n; piece *word; size_t nword; } words;
enum { MOST_WORDS = 1 << 14 };

static uint32_t draw(uint32_t *s, size_t below) {
  *s = *s * 1664525u + 1013904223u;
  return below ? (uint32_t)((*s >> 8) % below) : 0;
}

static bool in_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void cut(words *w, const void *p, size_t n) {
  *w = (words){ p, n, malloc(MOST_WORDS * sizeof(piece)), 0 };
  for (size_t i = 0; w->word && i < n && w->nword < MOST_WORDS;) {
    size_t at = i;
    if (isspace((unsigned char)w->p[i])) { i++; continue; }
    if (in_name(w->p[i])) while (i < n && (in_name(w->p[i]) || (w->p[i] == '.' && isdigit((unsigned char)w->p[at]) && i + 1 < n && isdigit((unsigned char)w->p[i + 1])))) i++;
    else if (w->p[i] == '"') { i++; while (i < n && w->p[i] != '"' && w->p[i] != '\n') i++; i += i < n; }
    else i++;
    w->word[w->nword++] = (piece){ at, i };
  }
}

static piece line_of(const words *w, size_t at) {
  piece l = { at, at };
  while (l.at > 0 && w->p[l.at - 1] != '\n') l.at--;
  while (l.end < w->n && w->p[l.end] != '\n') l.end++;
  if (l.end < w->n) l.end++;
  return l;
}

/* From an opening bracket to its partner, else the word alone. */
static piece group_of(const words *w, size_t k) {
  int deep = 0;
  for (size_t i = k; i < w->nword; i++) {
    char c = w->p[w->word[i].at];
    deep += (c == '(' || c == '[' || c == '{') - (c == ')' || c == ']' || c == '}');
    if (deep <= 0) return (piece){ w->word[k].at, w->word[i].end };
  }
  return w->word[k];
}

/* A word that could stand for word k: of the same kind by its first letter, after some tries. */
static piece alike(const words *from, const words *w, size_t k, uint32_t *s) {
  char c = w->p[w->word[k].at];
  piece got = from->word[draw(s, from->nword)];
  for (int i = 0; i < 50; i++) {
    char d = from->p[got.at];
    if ((isdigit((unsigned char)c) && isdigit((unsigned char)d)) || (isupper((unsigned char)c) && isupper((unsigned char)d)) ||
        (islower((unsigned char)c) && islower((unsigned char)d)) || (ispunct((unsigned char)c) && ispunct((unsigned char)d) && c != '_')) break;
    got = from->word[draw(s, from->nword)];
  }
  return got;
}

/* Puts [q, q+m) in the place of `old`. */
static size_t replace(uint8_t *p, size_t n, size_t most, piece old, const char *q, size_t m) {
  if (n - (old.end - old.at) + m > most) return n;
  char *copy = malloc(m + 1);
  if (!copy) return n;
  memcpy(copy, q, m);
  memmove(p + old.at + m, p + old.end, n - old.end);
  memcpy(p + old.at, copy, m);
  free(copy);
  return n - (old.end - old.at) + m;
}

static size_t change(uint8_t *p, size_t n, size_t most, const words *other, uint32_t *s) {
  static const char *const number[] = { "0", "1", "2", "3", "-1", "7", "16", "17", "0.5", "1000", "100000", "1000000", "2147483648", "9223372036854775807", "1e300", "1e999", "step", "epoch" };
  words w;
  cut(&w, p, n);
  if (!w.word || !w.nword) { free(w.word); return n; }
  size_t k = draw(s, w.nword), j = draw(s, w.nword);
  piece a = w.word[k], b = w.word[j], none = { a.at, a.at };
  const words *from = other->nword && draw(s, 2) ? other : &w;
  piece it = from->word[draw(s, from->nword)];
  switch (draw(s, 14)) {
    case 0: n = replace(p, n, most, a, "", 0); break;
    case 1: n = replace(p, n, most, none, w.p + a.at, a.end - a.at); break;
    case 2: case 3: n = replace(p, n, most, a, w.p + b.at, b.end - b.at); break;
    case 4: case 5: case 6: it = alike(from, &w, k, s); n = replace(p, n, most, a, from->p + it.at, it.end - it.at); break;
    case 7: { const char *t = number[draw(s, sizeof number / sizeof *number)]; n = replace(p, n, most, a, t, strlen(t)); break; }
    case 8: it = group_of(&w, k); n = replace(p, n, most, it, "", 0); break;
    case 9: it = group_of(from, draw(s, from->nword)); n = replace(p, n, most, group_of(&w, k), from->p + it.at, it.end - it.at); break;
    case 10: n = replace(p, n, most, line_of(&w, a.at), "", 0); break;
    case 11: case 12: it = line_of(from, it.at); a = line_of(&w, a.at); n = replace(p, n, most, (piece){ a.at, a.at }, from->p + it.at, it.end - it.at); break;
    default: it = line_of(from, it.at); n = replace(p, n, most, line_of(&w, a.at), from->p + it.at, it.end - it.at); break;
  }
  free(w.word);
  return n;
}

size_t kd_words_mutate(uint8_t *p, size_t n, size_t most, const uint8_t *other, size_t nother, unsigned seed) {
  uint32_t s = seed * 2654435761u + 1;
  words o;
  cut(&o, other, nother);
  for (uint32_t i = 0, times = 1 + draw(&s, 4); i < times; i++) n = change(p, n, most, &o, &s);
  free(o.word);
  return n;
}
