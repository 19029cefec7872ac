/* fit.c: spans of time with sizes to places in one arena.
 *
 * The largest spans are placed one by one, largest first, each into the tightest gap among those that live at the same time (which
 * comes close to the lower bound for networks, Pisarchyk and Lee 2020); that is quadratic, so it stops at a number. The many small
 * ones that are left come after them, by size class, in order of time. */
#include "compiler/plan/planner.h"
#include <stdlib.h>

enum { LARGE = 4096, CLASSES = 64 * 4 };

static int larger_first(const void *x, const void *y) {
  const kd__pl_span *a = x, *b = y;
  if (a->size != b->size) return a->size > b->size ? -1 : 1;
  if (a->first != b->first) return a->first < b->first ? -1 : 1;
  return (a->id > b->id) - (a->id < b->id);
}

static int earlier_first(const void *x, const void *y) {
  const kd__pl_span *a = x, *b = y;
  if (a->first != b->first) return a->first < b->first ? -1 : 1;
  return (a->id > b->id) - (a->id < b->id);
}

/* The tightest gap of at least s->size bytes among the placed spans that live when s does; `placed` is in order of place. */
static int64_t tightest_gap(kd__pl_span *const *placed, uint32_t n, const kd__pl_span *s) {
  int64_t end = 0, best = -1, best_room = INT64_MAX;
  for (uint32_t i = 0; i < n; i++) {
    const kd__pl_span *q = placed[i];
    if (q->last < s->first || s->last < q->first) continue;
    int64_t room = q->at - end;
    if (room >= s->size && room < best_room) best = end, best_room = room;
    if (q->at + q->size > end) end = q->at + q->size;
  }
  return best >= 0 ? best : end;
}

static int64_t fit_large(kd__arena *tmp, kd__pl_span *span, uint32_t n) {
  kd__pl_span **placed = KD_NEWN(tmp, kd__pl_span *, n + 1);
  int64_t top = 0;
  for (uint32_t i = 0; i < n; i++) {
    span[i].at = tightest_gap(placed, i, &span[i]);
    uint32_t k = i;
    for (; k > 0 && placed[k - 1]->at > span[i].at; k--) placed[k] = placed[k - 1];
    placed[k] = &span[i];
    if (span[i].at + span[i].size > top) top = span[i].at + span[i].size;
  }
  return top;
}

/* Sizes are rounded up to 4, 5, 6 or 7 eighths of a power of two, so that what one span leaves fits the next. */
static uint32_t size_class(int64_t size, int64_t *rounded) {
  uint64_t units = (uint64_t)size / KD__PL_ALIGN;
  if (units < 8) { *rounded = size; return (uint32_t)units; }
  uint32_t shift = 61u - (uint32_t)__builtin_clzll(units);
  uint64_t mantissa = (units + ((uint64_t)1 << shift) - 1) >> shift;           /* 4..8 */
  *rounded = (int64_t)((mantissa << shift) * KD__PL_ALIGN);
  return shift * 4 + (uint32_t)mantissa;
}

static int64_t fit_small(kd__arena *tmp, kd__pl_span *span, uint32_t n, int64_t top) {
  if (n == 0) return top;
  uint32_t end = 0, free_list[CLASSES] = { 0 };
  for (uint32_t i = 0; i < n; i++) end = span[i].last > end ? span[i].last : end;
  uint32_t *dying = KD_NEWN(tmp, uint32_t, (size_t)end + 2), *next = KD_NEWN(tmp, uint32_t, n + 1), now = 0;   /* 1 + index; 0 ends */
  qsort(span, n, sizeof *span, earlier_first);
  for (uint32_t i = 0; i < n; i++) {
    int64_t rounded, unused;
    uint32_t c = size_class(span[i].size, &rounded);
    for (; now < span[i].first; now++)
      for (uint32_t d = dying[now], after; d; d = after) {
        uint32_t k = size_class(span[d - 1].size, &unused);
        after = next[d];
        next[d] = free_list[k];
        free_list[k] = d;
      }
    if (free_list[c]) {
      span[i].at = span[free_list[c] - 1].at;
      free_list[c] = next[free_list[c]];
    } else {
      span[i].at = top;
      top += rounded;
    }
    next[i + 1] = dying[span[i].last];
    dying[span[i].last] = i + 1;
  }
  return top;
}

int64_t kd__pl_fit(kd__arena *tmp, kd__pl_span *span, uint32_t n) {
  uint32_t large = n < LARGE ? n : LARGE;
  qsort(span, n, sizeof *span, larger_first);
  int64_t top = fit_large(tmp, span, large);
  return fit_small(tmp, span + large, n - large, top);
}
