"""The tables of bench.py, in Markdown, from its results."""
import math, os, statistics

STEADY = 1.25                                    # rounds of a column that differ by more were disturbed


def number(v): return "" if v is None else f"{v:.3g}" if v < 100 else f"{v:.0f}"
def shown(r): return "" if r is None else f"{r:.2f}" if r < 10 else f"{r:.1f}"
def row(cells): return "| " + " | ".join(cells) + " |"
def rows(head, lines): return [row(head), row(["---"] * len(head))] + [row(l) for l in lines] + [""]
def threads_of(t): return f"{t} thread{'s' if t > 1 else ''}"

def spread(results, w, t, column):
  """The slowest round of a column by its fastest."""
  r = [x for x in results.get(f"{w.name} {t} {column}", {}).get("rounds", []) if x]
  return max(r) / min(r) if r else 1


class Results:
  def __init__(self, results): self.all = results

  def of(self, w, t, k, what="ms"): return self.all.get(f"{w.name} {t} {k}", {}).get(what)

  def ratio(self, w, a, b):
    """Of two columns, each (threads, name): the median over the rounds of what their ratio was in each, which took turns in the same minute; of their medians where there are no such rounds."""
    x, y = (self.all.get(f"{w.name} {t} {k}", {}) for t, k in (a, b))
    pairs = [p / q for p, q in zip(x.get("rounds", []), y.get("rounds", [])) if p and q] if x.get("run") == y.get("run") else []
    if pairs: return statistics.median(pairs)
    return x["ms"] / y["ms"] if x.get("ms") and y.get("ms") else None

  def faster(self, w, t, k): return self.ratio(w, (t, "torch"), (t, k))


# --- what the tables show, in a line each ---------------------------------------------------------------------------------------------
def verdict(found, good, limit=None):
  """found: (name, value). Which miss; the values where it is few or one."""
  if not found: return ""
  bad = [(n, v) for n, v in found if not good(n, v)]
  say = lambda some: ", ".join(f"{n} {shown(v)}" for n, v in some)
  if bad: return f"**miss**: {say(bad)}" + (f" ({len(found) - len(bad)} of {len(found)} pass)" if len(found) > 1 else "")
  return "pass: " + (say(found) if len(found) <= 5 else f"all {len(found)}")

def mean(values): return math.exp(sum(map(math.log, values)) / len(values))

def kept_memory(r, have, top):
  """(said + what a process takes before its tensors + 32 MiB, against what was resident), and against PyTorch."""
  below, within, near = [], [], []
  for w in have:
    mine, said, begun, theirs = (r.of(w, top, k, i) for k, i in (("kdc memory", "kib"), ("foretold", "kib"), ("kdc memory", "start"), ("torch memory", "kib")))
    if mine and theirs: below.append((w.name, mine / theirs))
    if mine and said and begun is not None:
      within.append((w.name, mine / (said + begun + 32 * 1024)))
      if w.name in ("resnet", "wrn", "bert", "crd"): near.append((w.name, mine / (said + begun + 32 * 1024)))
  return below, within, near

def summary(r, works, threads):
  top, lines = max(threads), []
  def line(what, limit, f): lines.append([what, limit] + [f(t) for t in threads])
  def have(t, *columns): return [w for w in works if all(r.of(w, t, c) for c in columns)]
  def aims(aim, k): return lambda t: verdict([(w.name, r.faster(w, t, k)) for w in have(t, "torch", k) if getattr(w, aim)], lambda n, v: v >= next(getattr(w, aim) for w in works if w.name == n))
  def means(k):
    def f(t):
      found = [r.faster(w, t, k) for w in have(t, "torch", k) if w.alone]
      return verdict([("mean", mean(found))], lambda n, v: v >= 6) if found else ""
    return f
  def least(k):
    def f(t):
      found = sorted(((w.name, r.faster(w, t, k)) for w in have(t, "torch", k)), key=lambda x: x[1])
      return verdict(found if found and found[0][1] < 1 else found[:1], lambda n, v: v >= 1)
    return f
  def named(names, a, b, good): return lambda t: verdict([(w.name, r.ratio(w, a(t), b(t))) for w in works if w.name in names and r.ratio(w, a(t), b(t))], good)
  def starts(k, limit): return lambda t: verdict([(w.name, r.of(w, t, k)) for w in works if r.of(w, t, k)], lambda n, v: v < limit)
  line("live teacher, losses alone, tiny network: each its aim", "aim", aims("aim", "kdc"))
  line("cached teacher: each its aim", "aim", aims("cached", "cached"))
  for name, k in (("", "kdc"), (", tile programs", "interp"), (", native code", "jit")): line("losses alone: geometric mean" + name, ">= 6", means(k))
  line("start to the end of the first step of (a), tile programs, ms", "< 150", starts("kdc start", 150))
  line("the same, native code that is made, ms", "< 400", starts("kdc start jit cold", 400))
  def kd_by_plain(t):
    found = [(w.name, r.ratio(w, (t, "cached KD" if w.kd else "cached"), (t, "plain"))) for w in works]
    return verdict([(n, v) for n, v in found if v], lambda n, v: v <= 1.05)
  line("cached KD loss / plain student, (a) to (d)", "<= 1.05", kd_by_plain)
  line("the same, (d) with its hint, whose regressor is trained too", "none set", lambda t: ", ".join(f"{w.name} {shown(v)}" for w in works if w.kd and (v := r.ratio(w, (t, "cached"), (t, "plain")))))
  for name, k in (("", "kdc"), (", tile programs", "interp"), (", native code", "jit")): line("no workload slower than PyTorch's best: the least ratio" + name, ">= 1", least(k))
  memory = kept_memory(r, works, top)
  for what, limit, found, good in (("memory / PyTorch's", "< 1", memory[0], lambda n, v: v < 1), ("memory / (said by kdc cost, start of the process, 32 MiB)", "<= 1", memory[1], lambda n, v: v <= 1),
                                   ("the same, (c) to (f)", ">= 0.7", memory[2], lambda n, v: v >= .7)): line(what, limit, lambda t: verdict(found, good) if t == top else "")
  line("foretold / live, steps of 1 ms and more", "0.7 to 1.3", lambda t: verdict([(w.name, r.ratio(w, (t, "foretold"), (t, "kdc"))) for w in have(t, "foretold", "kdc") if r.of(w, t, "kdc") >= 1], lambda n, v: .7 <= v <= 1.3))
  line(f"1 thread / {threads_of(top)}, (c) and (d)", ">= 1.7", lambda t: named(("resnet", "wrn"), lambda t: (1, "kdc"), lambda t: (top, "kdc"), lambda n, v: v >= 1.7)(t) if t == top > 1 else "")
  def own(t):
    found = sorted(((w.name, r.faster(w, t, "nojit")) for w in have(t, "torch", "nojit")), key=lambda x: x[1])
    return f"least {', '.join(f'{n} {shown(v)}' for n, v in found[:3])}" if found else ""
  line("without LLVM and oneDNN: ratios", "none set", own)
  def disturbed(t):
    found = [(w.name, max(spread(r.all, w, t, "kdc"), spread(r.all, w, t, "torch"))) for w in have(t, "kdc")]
    bad = [(n, v) for n, v in found if v > STEADY]
    return f"disturbed: {', '.join(f'{n} {shown(v)}' for n, v in bad)}" if bad else "steady" if found else ""
  line("rounds of live and best: slowest / fastest", f"<= {STEADY}", disturbed)
  return ["### What it comes to", ""] + rows(["shown", "limit"] + [threads_of(t) for t in threads], [l for l in lines if any(l[2:])])


# --- the tables -----------------------------------------------------------------------------------------------------------------------
def table(results, works, threads, checked, tolerance, planned):
  r = Results(results)
  of, faster = r.of, r.faster
  threads = [t for t in threads if any(of(w, t, "kdc") for w in works)]
  if not threads: return "Nothing is measured yet."
  out = summary(r, works, threads)
  for t in threads:
    have = [w for w in works if of(w, t, "kdc")]
    lines = []
    for w in have:
      mark = " *" if any((of(w, t, k, "others") or 0) >= .08 for k in ("kdc", "torch")) else ""
      short = lambda v, aim: "" if v is None or not aim else f"{number(aim)}" + (" (!)" if v < aim else "")
      live, cached = faster(w, t, "kdc"), faster(w, t, "cached")
      s = spread(results, w, t, "kdc")
      lines.append([w.label + mark, number(of(w, t, "torch default")), number(of(w, t, "torch")), (of(w, t, "torch", "variant") or "").replace("_", " "), number(of(w, t, "kdc")),
                    {"jit": "native", "interp": "tiles"}.get(of(w, t, "kdc", "code"), ""), shown(live), short(live, w.aim), number(of(w, t, "cached")), shown(cached), short(cached, w.cached),
                    f"{shown(s)} of {len(of(w, t, 'kdc', 'rounds'))}" + (" (!)" if s > STEADY else "") if of(w, t, "kdc", "rounds") else ""])
    out += [f"### {threads_of(t)}: milliseconds a step, and PyTorch's best by kdc's", ""]
    out += rows(["workload", "PyTorch default", "best", "(variant)", "kdc, live teacher", "code", "ratio", "aim", "kdc, cached", "ratio", "aim", "live: slowest / fastest round"], lines)
    out += [f"### {threads_of(t)}: kdc's columns, milliseconds a step, and PyTorch's best by each", ""]
    out += rows(["workload", "live", "tile programs", "ratio", "native code", "ratio", "deterministic / live", "nojit build", "ratio", "plain student", "cached / plain", "PyTorch without teacher", "foretold / live"],
                [[w.name, number(of(w, t, "kdc")), number(of(w, t, "interp")), shown(faster(w, t, "interp")), number(of(w, t, "jit")), shown(faster(w, t, "jit")), shown(r.ratio(w, (t, "deterministic"), (t, "kdc"))),
                  number(of(w, t, "nojit")), shown(faster(w, t, "nojit")), number(of(w, t, "plain")), shown(r.ratio(w, (t, "cached"), (t, "plain"))), number(of(w, t, "torch no teacher")),
                  told(r, w, t)] for w in have])
  top = max(threads)
  have = [w for w in works if of(w, top, "kdc memory", "kib")]
  if have:
    mib = lambda w, k, i="kib": (lambda v: "" if v is None else f"{v / 1024:.0f}")(of(w, top, k, i))
    out += ["### Memory (peak of anonymous pages, MiB), a busy machine, threads", ""]
    out += rows(["workload", "kdc", "said by kdc cost", "start of the process", "PyTorch", "kdc, other core busy: ms", "PyTorch, other core busy: ms", "ratio", f"kdc: 1 thread / {threads_of(top)}"],
                [[w.name, mib(w, "kdc memory"), mib(w, "foretold"), mib(w, "kdc memory", "start"), mib(w, "torch memory"), number(of(w, top, "kdc busy")), number(of(w, top, "torch busy")),
                  shown(r.ratio(w, (top, "torch busy"), (top, "kdc busy"))), shown(r.ratio(w, (1, "kdc"), (top, "kdc"))) if top > 1 else ""] for w in have])
  for w in works:
    for t in threads:
      k, p, cold, warm = (of(w, t, x) for x in ("kdc start", "torch start", "kdc start jit cold", "kdc start jit"))
      if k: out += [f"From the start of the process to the end of the first step of {w.label[:3]}, {threads_of(t)}: tile programs {k:.0f} ms" +
                    (f"; native code {cold:.0f} ms, compiled before {warm:.0f} ms" if cold and warm else "") + (f"; PyTorch {p:.0f} ms." if p else "."), ""]
  checks = [(w.name, results[f"{w.name} 0 check"]["worst"]) for w in works if f"{w.name} 0 check" in results]
  if checks:
    name, worst = max(checks, key=lambda c: c[1])
    out += [f"Both compute the same: the losses of {checked} steps of {len(checks)} workloads differ by {worst:.1e} of themselves at most ({name}; at most {tolerance:g} passes).", ""]
  if any(" * |" in l for l in out): out += ["\\* other processes had more than 8 % of the machine meanwhile.", ""]
  out += ["(!) misses its limit.", ""] if any("(!)" in l for l in out) else []
  out += [f"Runs of kdc plan {planned:,} steps, and are stopped when enough are measured."]
  if "machine" in results: out += ["", "Measured on: " + results["machine"] + "."]
  return "\n".join(out)

def told(r, w, t):
  v = r.ratio(w, (t, "foretold"), (t, "kdc"))
  return shown(v) + (" (!)" if v and r.of(w, t, "kdc") >= 1 and not .7 <= v <= 1.3 else "")

def put(path, text):
  """Into a document, between the lines that mark the place."""
  doc = open(path).read()
  begin, end = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
  if doc.count(begin) != 1 or doc.count(end) != 1: raise SystemExit(f"bench: {path} has no place marked for the tables ({begin.strip()} ... {end.strip()})")
  with open(path + ".new", "w") as f: f.write(doc[:doc.index(begin) + len(begin)] + "\n" + text + "\n\n" + doc[doc.index(end):])
  os.replace(path + ".new", path)
