/* kernel.h: what a kernel is: one way to run one operator over strided tensors. Kernels know no graph and no file.
 *
 * A kernel allocates nothing but in prepare(), takes no lock but the thread team's, and cannot fail but by a fault (index out of range).
 * Strides are in elements, may be 0 (broadcast), negative, or in any order: a physical layout is nothing but strides. Results have
 * no zero strides. A result may share memory with an operand only where the plan says so (element-wise operators with equal
 * strides; base of scatter_*), and then exactly, never by part. */
#ifndef KD_KERNEL_H
#define KD_KERNEL_H
#include "runtime/op/op.h"

typedef struct kd_tensor { void *data; const int64_t *dim, *stride; uint8_t dtype, rank; } kd_tensor;

typedef struct kd_call {
  kd_op op;
  uint32_t nin, nout;
  const kd_tensor *in, *out;
  const kd_attr *attr;                           /* as in ops.def */
  void *prepared;                                /* what prepare() made, or NULL */
  const struct kd_group *group;                  /* of `group` (group.h), else NULL */
  /* By operand, or NULL: where a count stands that changes whenever the operand may have; NULL for operands that change at each run. prepare() may
   * then allocate room for a packed copy, saying in `kept` how many bytes, and run() renews it when the count is another than that of the copy. */
  const uint64_t *const *version;
  size_t kept;
} kd_call;

/* The first fault of a run; written with an atomic exchange of `set`. Reported after the program ran; its results are then void. */
typedef struct kd_fault { int set; kd_op op; int64_t value, limit, position; uint32_t origin; } kd_fault;       /* origin 0: the call's */

typedef struct kd__team kd__team;
typedef struct kd_exec {
  int threads;                                   /* size of the team */
  bool deterministic;                            /* chunks must not depend on `threads` */
  void *scratch;                                 /* 64-byte aligned, of the size that scratch() asked for */
  kd_fault *fault;
  kd__team *team;                                /* set by kd__team_run; NULL: each loop gathers a team of its own */
  bool alone;                                    /* chunks are what they are, and this thread runs them all: others run other calls */
} kd_exec;
void kd__fault(const kd_exec *x, kd_op op, int64_t value, int64_t limit, int64_t position);
void kd__fault_at(const kd_exec *x, kd_op op, uint32_t origin, int64_t value, int64_t limit, int64_t position);    /* of an instruction of a group */

/* Winograd's convolutions: where measured to pay, never, or wherever they can. */
typedef enum kd_winograd { KD_WINOGRAD_AUTO, KD_WINOGRAD_OFF, KD_WINOGRAD_ON } kd_winograd;
typedef struct kd_choices kd_choices;
/* What chooses a kernel besides the call itself. The choice is a pure function of (call, settings). */
typedef struct kd_kernel_settings {
  int threads;
  bool deterministic, use_dnnl, reference;
  kd_winograd winograd;
  bool jit;                                      /* groups as native code, where the plug-in is there */
  const kd_choices *choices;                     /* what was measured on this machine (choice.h); NULL: nothing */
  const char *compiled;                          /* the folder of compiled groups; NULL: none. It changes no result. */
} kd_kernel_settings;

typedef struct kd_kernel {
  const char *name;                              /* "gemm.openblas", "conv.dnnl", "elem.f32": recorded in the run folder */
  kd_op op;
  bool   (*takes)(const kd_call *c, const kd_kernel_settings *s);
  size_t (*scratch)(const kd_call *c, const kd_kernel_settings *s);                      /* NULL: 0 bytes; before prepare() or after it */
  kd_status (*prepare)(kd_call *c, const kd_kernel_settings *s);                         /* NULL: nothing; sets c->prepared */
  void   (*release)(void *prepared);
  void   (*run)(const kd_call *c, const kd_exec *x);
} kd_kernel;

/* The kernel that was measured to be the fastest, or else the first kernel in table order that takes the call; the naive twin takes everything, so NULL means a broken table.
 * settings->reference picks the twin. Data pointers of the call may be NULL here. */
const kd_kernel *kd__kernel_find(const kd_call *c, const kd_kernel_settings *s);

/* The i-th kernel in table order that takes the call, without the twin; NULL after the last. For measuring and tests. */
const kd_kernel *kd__kernel_nth(const kd_call *c, const kd_kernel_settings *s, int i);

/* The name as the table has it, or NULL where no kernel is called so. */
const char *kd__kernel_name(const char *name);

/* Is the call long enough for a team to share it? A program without such calls runs faster without a team. */
bool kd__call_long(const kd_call *c);

/* About how many microseconds one thread takes for a call, and a team that runs it as its kernel would: from shapes alone, the same on every machine.
 * Infinite for those of which shapes say little. */
typedef struct kd__foretold { double alone, team; } kd__foretold;
kd__foretold kd__foretell(const kd_call *c, int threads);
/* Of calls that one after another take `serial` microseconds and side by side `side`: is it worth a loop of the team, which takes `price`? Foretold
 * times are rough: a part of them is to be saved. Below 0 (for tests): always. */
static const double KD__SIDE_PRICE = 3;
static inline bool kd__side_pays(double serial, double side, double price) { return price < 0 || (serial - side - price > 0 && serial - side > serial / 32); }

/* Runs fn(ctx, i, i + 1, i) for i of 0..n-1, each on one thread of the team. */
void kd__team_each(const kd_exec *x, int64_t n, void (*fn)(void *ctx, int64_t begin, int64_t end, int64_t i), void *ctx);
/* The number of the thread of the team that this is. */
int kd__team_thread(void);

/* The naive twins (kernels/ref/): double precision (and integer) loops over multi-indices, one function a family, written for
 * clearness; they also accept f32 by converting element by element. Single-threaded. Used by tests and by --precision=double. */
void kd__ref_run(const kd_call *c, const kd_exec *x);
size_t kd__ref_scratch(const kd_call *c, const kd_kernel_settings *s);

/* Copies between any two layouts of one shape and type (what the plan inserts where a view cannot be an alias). */
void kd__copy_strided(const kd_tensor *from, const kd_tensor *to, const kd_exec *x);
/* to[i + j * st] = from[i * sf + j] for i < n, j < m: elements of `size` bytes. */
void kd__copy_transpose(char *to, const char *from, size_t size, int64_t n, int64_t m, int64_t st, int64_t sf);
/* Row i of `to` becomes row index[i] of `from`: n rows of so many bytes, without gaps. */
void kd__copy_rows(const void *from, const int64_t *index, void *to, int64_t n, size_t bytes, const kd_exec *x);

/* Runs fn(ctx, y), where y is x with a team of x->threads threads for the kernels that fn calls with it. Teams of several sessions in one
 * process take turns, in the order in which they ask, so that each has the cores to itself; fn must not come back here. */
void kd__team_run(const kd_exec *x, void (*fn)(void *ctx, const kd_exec *y), void *ctx);

/* Native code for groups (jit.c). Is the plug-in there? What it is, or why not: for `kdc info` and the run folder. */
bool kd__jit_there(void);
const char *kd__jit_about(void);
/* Compiles many groups at once, on two threads, and holds them until kd__jit_drop: preparing a call then finds its code. NULL: nothing to hold. */
struct kd_group;
void *kd__jit_hold(const struct kd_group *const *g, size_t n, const kd_kernel_settings *s);
void kd__jit_drop(void *held);
double kd__group_work(const struct kd_group *g);                                 /* vector operations of one run, about */

/* Names and versions of the libraries in use, for `kdc info` and the run folder: "OpenBLAS 0.3.21 (SkylakeX, openmp)". */
void kd__kernel_libraries(kd__buf *out);
/* Checks at start that the BLAS library is the OpenMP build and computes right (small self-test). KD_E_UNAVAILABLE with a text if not. */
kd_status kd__kernel_check(char *why, size_t n);
#endif
