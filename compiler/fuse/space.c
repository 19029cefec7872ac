/* space.c: atoms and places: unifying, splitting, views. feed.c takes in operators. */
#include "compiler/fuse/feed.h"

int64_t kd__space_count(const kd__space *s, uint64_t atoms) {
  int64_t n = 1;
  for (; atoms; atoms &= atoms - 1) n *= s->size[__builtin_ctzll(atoms)];
  return n;
}

static int begin_of(const kd__place *p, int axis) { return axis ? p->end[axis - 1] : 0; }

uint64_t kd__space_axis(const kd__place *p, int axis) {
  uint64_t m = 0;
  for (int i = begin_of(p, axis); i < p->end[axis]; i++) m |= 1ull << p->atom[i];
  return m;
}

uint32_t kd__entry_root(const kd__space *s, uint32_t entry) {
  while (s->entry.v[entry].kind == KD__ENTRY_VIEW) entry = s->entry.v[entry].of;
  return entry;
}

/* --- going back ------------------------------------------------------------------------------------------------------------------ */

kd__space_mark kd__space_here(kd__space *s) {
  s->kept = false;
  s->nold = s->entry.n, s->old_used = s->used;
  memcpy(s->old_size, s->size, sizeof s->size);
  return (kd__space_mark){ s->entry.n };
}

/* Before the first change of what was there at the mark. */
void kd__space_keep(kd__space *s) {
  if (s->kept) return;
  if (s->old_cap < s->nold) {
    s->old_cap = s->nold * 2;
    s->old = KD_NEWN(s->a, kd__entry, s->old_cap);
  }
  if (s->nold) memcpy(s->old, s->entry.v, sizeof *s->old * s->nold);
  s->kept = true;
}

void kd__space_back(kd__space *s, kd__space_mark m) {
  if (s->kept && s->nold) memcpy(s->entry.v, s->old, sizeof *s->old * s->nold);
  s->entry.n = m.entries, s->used = s->old_used;
  memcpy(s->size, s->old_size, sizeof s->size);
  s->kept = false;
}

/* --- atoms ----------------------------------------------------------------------------------------------------------------------- */

int kd__space_atom(kd__space *s, int64_t size) {
  if (~s->used == 0) return -1;
  int id = __builtin_ctzll(~s->used);
  s->used |= 1ull << id;
  s->size[id] = size;
  return id;
}

static uint64_t renamed(uint64_t set, int from, uint64_t to) { return set >> from & 1 ? (set & ~(1ull << from)) | to : set; }

static bool has(const kd__place *p, int atom) {
  for (int i = 0; i < p->n; i++)
    if (p->atom[i] == atom) return true;
  return false;
}

/* Two atoms are one from now on. */
static bool unite(kd__space *s, int x, int y) {
  if (y < x) { int t = x; x = y, y = t; }
  for (size_t i = 0; i < s->entry.n; i++)
    if (has(&s->entry.v[i].place, x) && has(&s->entry.v[i].place, y)) return false;
  kd__space_keep(s);
  for (size_t i = 0; i < s->entry.n; i++) {
    kd__place *p = &s->entry.v[i].place;
    for (int k = 0; k < p->n; k++)
      if (p->atom[k] == y) p->atom[k] = (uint8_t)x;
    p->changes = renamed(p->changes, y, 1ull << x);
    s->entry.v[i].over = renamed(s->entry.v[i].over, y, 1ull << x);
  }
  s->used &= ~(1ull << y);
  return true;
}

/* Atom x becomes two; the second has `minor` elements. */
static bool split(kd__space *s, int x, int64_t minor) {
  if (s->size[x] % minor) return false;
  for (size_t i = 0; i < s->entry.n; i++)
    if (s->entry.v[i].place.n == KD__PLACE_ATOMS && has(&s->entry.v[i].place, x)) return false;
  int y = kd__space_atom(s, minor);
  if (y < 0) return false;
  kd__space_keep(s);
  s->size[x] /= minor;
  for (size_t i = 0; i < s->entry.n; i++) {
    kd__place *p = &s->entry.v[i].place;
    uint64_t both = 1ull << x | 1ull << y;
    p->changes = renamed(p->changes, x, both);
    s->entry.v[i].over = renamed(s->entry.v[i].over, x, both);
    for (int k = 0; k < p->n; k++) {
      if (p->atom[k] != x) continue;
      memmove(p->atom + k + 2, p->atom + k + 1, (size_t)(p->n - k - 1));
      p->atom[k + 1] = (uint8_t)y;
      p->n++;
      for (int d = 0; d < p->rank; d++) p->end[d] = (uint8_t)(p->end[d] + (p->end[d] > k));
      break;
    }
  }
  return true;
}

bool kd__space_unify_axis(kd__space *s, uint32_t a, int da, uint32_t b, int db) {
again:;
  const kd__place *p = &s->entry.v[a].place, *q = &s->entry.v[b].place;
  int i = p->end[da], j = q->end[db];
  while (i > begin_of(p, da) && j > begin_of(q, db)) {
    int x = p->atom[i - 1], y = q->atom[j - 1];
    if (x == y) { i--, j--; continue; }
    int64_t m = s->size[x], n = s->size[y];
    bool ok = m == n ? unite(s, x, y) : m > n ? split(s, x, n) : split(s, y, m);
    if (!ok) return false;
    goto again;
  }
  return i == begin_of(p, da) && j == begin_of(q, db);
}

bool kd__space_unify(kd__space *s, uint32_t a, uint32_t b) {
  int rank = s->entry.v[a].place.rank;
  if (a == b) return true;
  if (rank != s->entry.v[b].place.rank) return false;
  for (int d = 0; d < rank; d++)
    if (!kd__space_unify_axis(s, a, d, b, d)) return false;
  return true;
}

/* --- places ------------------------------------------------------------------------------------------------------------------------ */

bool kd__place_append(kd__place *p, const uint8_t *atom, int n) {
  if (p->n + n > KD__PLACE_ATOMS) return false;
  for (int i = 0; i < n; i++) p->atom[p->n++] = atom[i];
  return true;
}

bool kd__place_axis_of(kd__place *p, const kd__place *from, int axis) {
  if (!kd__place_append(p, from->atom + begin_of(from, axis), from->end[axis] - begin_of(from, axis))) return false;
  p->end[p->rank++] = p->n;
  return true;
}

bool kd__space_new_axis(kd__space *s, kd__place *p, int64_t size) {
  int id = size > 1 ? kd__space_atom(s, size) : 0;
  uint8_t atom = (uint8_t)id;
  if (id < 0 || (size > 1 && !kd__place_append(p, &atom, 1))) return false;
  p->end[p->rank++] = p->n;
  return true;
}

uint32_t kd__space_entry(kd__space *s, kd_value v, kd__entry_kind kind, const kd__place *p) {
  KD_PUSH(s->a, s->entry, (kd__entry){ .v = v, .kind = (uint8_t)kind, .of = KD__ENTRY_NONE, .place = *p });
  return (uint32_t)s->entry.n - 1;
}

/* The new axes take the atoms in order, from the last one; an atom that is too long for an axis is split. */
static bool reshaped(kd__space *s, uint32_t from, const kd_type *t, kd__place *to) {
again:;
  const kd__place *p = &s->entry.v[from].place;
  int first[KD_MAX_RANK], i = p->n;
  for (int d = t->rank - 1; d >= 0; d--) {
    int64_t have = 1;
    while (have < t->dim[d]) {
      if (i == 0) return false;
      int64_t size = s->size[p->atom[i - 1]], need = t->dim[d] / have;
      if (t->dim[d] % have) return false;
      if (size > need) {
        if (!split(s, p->atom[i - 1], need)) return false;
        goto again;
      }
      have *= size, i--;
    }
    if (have != t->dim[d]) return false;
    first[d] = i;
  }
  if (i) return false;
  *to = (kd__place){ .changes = p->changes, .rank = t->rank, .n = p->n };
  memcpy(to->atom, p->atom, sizeof to->atom);
  for (int d = 0; d < t->rank; d++) to->end[d] = (uint8_t)(d + 1 < t->rank ? first[d + 1] : p->n);
  return true;
}

uint32_t kd__space_view(kd__space *s, const kd_node *n, uint32_t from) {
  const kd_type *t = kd__type_of(s->g, n->out), *in = kd__type_of(s->g, n->in[0]);
  kd__place to = { .changes = s->entry.v[from].place.changes };
  bool ok = true;
  if (n->op == KD_OP_RESHAPE) {
    ok = reshaped(s, from, t, &to);
  } else if (n->op == KD_OP_PERMUTE) {
    for (int d = 0; d < t->rank && ok; d++) ok = kd__place_axis_of(&to, &s->entry.v[from].place, (int)n->attr[0].u.list[d]);
  } else {
    const int64_t *axes = n->attr[1].u.list;
    for (int d = 0, j = 0; d < t->rank && ok; d++) {
      if (j < in->rank && axes[j] == d) ok = kd__place_axis_of(&to, &s->entry.v[from].place, j++);
      else ok = kd__space_new_axis(s, &to, t->dim[d]);
    }
  }
  if (!ok) return KD__ENTRY_NONE;
  uint32_t e = kd__space_entry(s, n->out, KD__ENTRY_VIEW, &to);
  s->entry.v[e].of = from;
  return e;
}

/* --- cutting ------------------------------------------------------------------------------------------------------------------------ */

enum { WHOLE = 65536, WHOLE_APART = 256, FEW_POINTS = 8, SMALL = 65536, TINY = 4096 };

bool kd__space_cut(const kd__space *s, uint64_t *outer) {
  uint64_t inner = 0;
  *outer = 0;
  for (size_t i = 0; i < s->entry.n; i++) *outer |= s->entry.v[i].place.changes;
  for (size_t i = 0; i < s->entry.n; i++) {
    const kd__entry *e = &s->entry.v[i];
    if (!e->reduced || !e->read || !e->over) continue;
    inner |= e->over;
    *outer &= e->place.changes;
  }
  *outer &= ~inner;
  return inner != 0;
}

/* Do the inner atoms of the largest member come after the outer ones, so that what is walked whole likely lies together? */
static bool together(const kd__space *s, const kd__place *p, uint64_t outer) {
  bool inner = false;
  (void)s;
  for (int i = 0; i < p->n; i++) {
    bool out = outer >> p->atom[i] & 1;
    if (out && inner) return false;
    inner = inner || !out;
  }
  return true;
}

bool kd__space_few(const kd__space *s) {
  uint64_t outer;
  int64_t most = 0, whole = 0;
  const kd__place *largest = NULL;
  if (!kd__space_cut(s, &outer)) return true;
  for (size_t i = 0; i < s->entry.n; i++) {
    const kd__place *p = &s->entry.v[i].place;
    int64_t all = kd__space_count(s, p->changes), part = kd__space_count(s, p->changes & ~outer);
    if (all > most) most = all, largest = p;
    if (part > whole) whole = part;
  }
  if (most <= TINY) return true;
  if (whole > WHOLE || (whole > WHOLE_APART && !together(s, largest, outer))) return false;
  return kd__space_count(s, outer) >= FEW_POINTS || most <= SMALL;
}
