/* habit.c: words of other languages, and what is written here instead (habits.def). */
#include "compiler/front/diag.h"
#include <string.h>

const char *kd__habit(const char *word, bool begins) {
  enum { NAME = 1, BEGIN = 2, BOTH = 3 };
  static const struct { const char *word, *help; int where; } table[] = {
#define KD_HABIT(WHERE, word, help) { word, help, WHERE },
#include "compiler/front/habits.def"
#undef KD_HABIT
  };
  for (size_t i = 0; word && i < sizeof table / sizeof *table; i++)
    if ((table[i].where & (begins ? BEGIN : NAME)) && strcmp(table[i].word, word) == 0) return table[i].help;
  return NULL;
}
