#!/usr/bin/env python3
"""kdc beside PyTorch, on the same machine, in turn: run.sh builds and calls this. See README.md."""
import argparse, os, statistics, subprocess, sys, tempfile, time
import table
from sides import Bad, CALM, CHECKED, Sides, TOLERANCE, tuned
from works import PLANNED, WORKS, chosen

LOSING = 1.15                                    # variants of PyTorch that take so much longer than the best in the first round are dropped


class Bench(Sides):
  """Measures in rounds: each goes through all rows, and in each row every column has a turn. What a column comes to is the median over its rounds of
     the median of its steps."""
  def __init__(self, o):
    super().__init__(o.kdc, o.work, not o.no_torch, o.out)
    self.o, self.threads, self.run, self.begun = o, sorted(o.threads, reverse=True), time.time(), time.monotonic()
    self.variants, self.again, self.code, self.took = {}, {}, {}, {}

  # --- one turn of a column: the median of its steps in milliseconds ---
  def turn(self, f):
    """Once more where others had a share of the machine meanwhile."""
    for again in (0, 1):
      r = f()
      if r.others < CALM or again: return 1e3 * statistics.median(r.times), r

  def kdc_turn(self, w, t, part=1., **k):
    long = w.ms > 50
    return self.turn(lambda: self.kdc(w, t, seconds=self.o.seconds * part, least=self.o.least, skip=2 if long else 3, **k))

  def torch_turn(self, w, t, variant, env, part=1., **k):
    return self.turn(lambda: self.pytorch(w, t, self.o.least, self.o.seconds * part, 2 if w.ms > 50 else 3, variant, env, **k))

  def turns(self, w):
    """Of a round: (threads, column, what to do). Columns that are compared stand side by side: PyTorch's best, live, cached, plain, and from there back on one thread."""
    few, quick, taught = .7, self.o.quick, w.teacher and not w.alone
    def mine(t, column, part=1., **k): return t, column, lambda: self.kdc_turn(w, t, part, **k)
    def theirs(t, column, *a, **k): return t, column, lambda: self.torch_turn(w, t, *a, **k)
    def main(t):
      if self.torch: yield from (theirs(t, "torch:" + v, v, tuned()) for v in self.variants.get((w, t), w.variants))
      yield mine(t, "kdc")
      if self.native and not quick: yield mine(t, self.other(w, t), few, options=["--backend", self.other(w, t)])
      if taught: yield mine(t, "cached", options=["--cache", "memory"])
      if taught and w.name not in ("bert", "tiny"): yield mine(t, "plain", sets=["plain=1"])
      if w.kd: yield mine(t, "cached KD", options=["--cache", "memory"], sets=w.kd)
    def more(t):
      yield mine(t, "deterministic", few, options=["--deterministic"])
      if self.o.nojit: yield mine(t, "nojit", few, kdc=self.o.nojit)
      if self.torch: yield theirs(t, "torch default", "eager", None, few)
      if self.torch and taught: yield theirs(t, "torch no teacher", self.again[w, t], tuned(), few, more=["--teacher", "0"])
    return [x for i, t in enumerate(self.threads) for x in (list(main(t))[::-1] if i else main(t))], [] if quick else [x for t in self.threads for x in more(t)]

  def other(self, w, t): return "interp" if self.code[w, t] == "jit" else "jit"

  def round(self, w, n):
    """Every column of a row; odd rounds go backwards, so that a drift does not favour those that come first."""
    begun = time.monotonic()
    if n == 0: self.forget(w)
    for part in (0, 1):
      turns = self.turns(w)[part]
      for t, column, f in turns[::-1] if n % 2 else turns:
        ms, r = f()
        self.add(w, t, column, ms, r.others, n)
      for t in self.threads: self.choose_variant(w, t, n)
    for t in self.threads:
      if not self.o.quick: self.note(w, t, self.code[w, t], {**self.results[f"{w.name} {t} kdc"], "live": True})      # the same command
      self.results[f"{w.name} {t} kdc"]["code"] = self.code[w, t]
    if n == 0: self.once(w)
    self.took[w] = time.monotonic() - begun
    self.keep()
    self.progress(w, n)

  def forget(self, w):
    """Rows hold what one run of the benchmark measured; and the first round needs to know what `auto` takes."""
    for k in [k for k in self.results if k.split(" ")[0] == w.name and k.split(" ")[1] in map(str, self.threads)]: del self.results[k]
    for t in self.threads:
      self.code[w, t] = "jit" if self.kdc(w, t, least=1, skip=1).native else "interp"
      self.again[w, t] = "eager"

  def add(self, w, t, column, ms, others, n):
    e = self.results.setdefault(f"{w.name} {t} {column}", {"run": self.run, "rounds": [], "others": 0})
    e["rounds"] += [None] * (n - len(e["rounds"])) + [ms]
    e["ms"] = statistics.median(x for x in e["rounds"] if x)
    e["others"] = max(e["others"], others)

  def choose_variant(self, w, t, n):
    if not self.torch: return
    of = {v: self.results[f"{w.name} {t} torch:{v}"] for v in self.variants.get((w, t), w.variants)}
    best = min(of, key=lambda v: of[v]["ms"])
    if n == 0:
      self.variants[w, t] = [v for v in of if of[v]["ms"] <= LOSING * of[best]["ms"]]
      self.again[w, t] = "channels_last" if "channels_last" in best else "eager"
    self.note(w, t, "torch", {**of[best], "variant": best})

  # --- rounds of all rows, and more of those that were disturbed ---
  def all(self, works):
    for n in range(self.o.rounds):
      for w in works: self.round(w, n)
    if self.o.rounds < 2: return
    spread = {w: max(table.spread(self.results, w, t, k) for t in self.threads for k in ("kdc", "torch")) for w in works}
    for w in sorted(spread, key=spread.get, reverse=True):
      if spread[w] <= table.STEADY: break
      if time.monotonic() - self.begun + 2 * self.took[w] > 60 * self.o.minutes:
        print(f"{w.name}: its rounds differ by {spread[w]:.2f}, and there is no time left to measure it again", file=sys.stderr)
        continue
      print(f"{w.name}: its rounds differ by {spread[w]:.2f}: two more", file=sys.stderr)
      for n in range(self.o.rounds, self.o.rounds + 2): self.round(w, n)

  def once(self, w):
    """What needs no rounds."""
    top = self.threads[0]
    for t in self.threads:
      said = self.foretell(w, t)
      self.note(w, t, "foretold", {"ms": said.ms, "kib": said.kib})
    if not self.o.quick: self.busy(w, top)
    self.memory(w, top)
    if w.name == "mlp":
      for t in self.threads: self.begin(w, t)

  def busy(self, w, t):
    """The other core taken by a process that only counts."""
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
      self.note(w, t, "kdc busy", {"ms": 1e3 * statistics.median(self.kdc(w, t, seconds=self.o.seconds, least=self.o.least).times)})
      if self.torch: self.note(w, t, "torch busy", {"ms": 1e3 * statistics.median(self.pytorch(w, t, self.o.least, self.o.seconds, variant=self.results[f"{w.name} {t} torch"]["variant"], env=tuned()).times)})
    finally:
      spin.kill()
      spin.wait()

  def memory(self, w, t):
    """Peaks of anonymous memory, kdc's with an empty cache folder, so that its native code is made; and what a process takes before it has any tensors."""
    def mine(w, **k):
      with tempfile.TemporaryDirectory() as empty: return self.kdc(w, t, memory=True, env={"XDG_CACHE_HOME": empty}, **k).peak
    tiny = next(x for x in WORKS if x.name == "tiny")
    begun = f"start {self.code[w, t]}"
    if f"{tiny.name} 0 {begun}" not in self.results:
      self.note(tiny, 0, begun, {"kib": mine(tiny, steps=5, options=["--backend", self.code[w, t]]) - self.foretell(tiny, t).kib})
    self.note(w, t, "kdc memory", {"kib": mine(w), "start": self.results[f"{tiny.name} 0 {begun}"]["kib"]})
    if self.torch: self.note(w, t, "torch memory", {"kib": self.pytorch(w, t, 3 if w.ms > 50 else 20, variant=self.results[f"{w.name} {t} torch"]["variant"], env=tuned(), memory=True).peak})

  def begin(self, w, t):
    """From the start of the process to the end of the first step."""
    def mine(backend, cold=False):
      with tempfile.TemporaryDirectory() as empty:
        r = self.kdc(w, t, 1, options=["--backend", backend], env={"XDG_CACHE_HOME": empty} if cold else None)
      return 1e3 * (r.ends[0] - r.start)
    few = 3 if self.o.quick else 7
    self.note(w, t, "kdc start", {"ms": statistics.median(mine("interp") for _ in range(few))})
    if self.native:
      self.note(w, t, "kdc start jit cold", {"ms": statistics.median(mine("jit", cold=True) for _ in range(few))})
      mine("jit")
      self.note(w, t, "kdc start jit", {"ms": statistics.median(mine("jit") for _ in range(few))})
    if self.torch:
      def theirs():
        r = self.pytorch(w, t, 1, skip=1, env=tuned())
        return 1e3 * (r.first - r.start)
      self.note(w, t, "torch start", {"ms": statistics.median(theirs() for _ in range(3))})

  def progress(self, w, n):
    line = []
    for t in self.threads:
      k, p = ((self.results.get(f"{w.name} {t} {c}") or {}).get("rounds") for c in ("kdc", "torch"))
      line.append(f"{t} thread{'s' if t > 1 else ''}: kdc {k[-1]:.4g} ms" + (f", PyTorch {p[-1]:.4g} ms, ratio {p[-1] / k[-1]:.2f}" if p and p[-1] else ""))
    print(f"{w.name}, round {n + 1}, {self.took[w]:.0f} s: " + "; ".join(line), file=sys.stderr, flush=True)


def main():
  p = argparse.ArgumentParser()
  p.add_argument("--kdc", required=True)
  p.add_argument("--nojit", help="kdc of the preset nojit, for a column of its own")
  p.add_argument("--work", required=True, help="folder for data and runs")
  p.add_argument("--only", help="workloads, separated by commas; a name also takes those that begin with it")
  p.add_argument("--threads", default="2 1")
  p.add_argument("--rounds", type=int, help="how often every column has a turn (3; --quick: 1)")
  p.add_argument("--minutes", type=float, default=28, help="rows that were disturbed are measured again as long as all takes less than this")
  p.add_argument("--quick", action="store_true", help="a short run of the most important columns")
  p.add_argument("--check-only", action="store_true", help="only: both sides compute the same")
  p.add_argument("--no-check", action="store_true", help="the losses were compared before (--check-only), in the same folder")
  p.add_argument("--no-torch", action="store_true")
  p.add_argument("--out", help="results as JSON; what is there already is kept, and the table shows all of it")
  p.add_argument("--table", action="store_true", help="only print the table of --out")
  p.add_argument("--doc", help="put the table into this document, between the lines that mark its place, and print nothing")
  o = p.parse_args()
  threads = o.threads.replace(",", " ").split()
  if not threads or not all(t.isdecimal() and int(t) > 0 for t in threads): p.error(f"--threads takes numbers from 1 on, such as \"2 1\", not \"{o.threads}\"")
  o.threads = [int(t) for t in threads]
  if o.rounds is None: o.rounds = 1 if o.quick else 3
  if o.rounds < 1: p.error(f"--rounds takes a number from 1 on, not {o.rounds}")
  o.seconds, o.least = (.25, 3) if o.quick else (.5, 4)
  if o.nojit: o.nojit = os.path.abspath(o.nojit)
  works = chosen(o.only)
  if not works: p.error("no such workload; there are " + ", ".join(w.name for w in WORKS))
  b = Bench(o)
  try:
    if not o.table:
      b.prepare()
      b.machine()
      for w in works:
        if o.no_check: break
        b.check(w)
        if w.teacher and not w.alone: b.check_cached(w)
      b.keep()
      if o.check_only: return 0
      b.all(works)
  except Bad as e:
    print("bench:", e, file=sys.stderr)
    return 1
  text = table.table(b.results, WORKS if o.out else works, o.threads, CHECKED, TOLERANCE, PLANNED)
  if o.doc: table.put(o.doc, text)
  else: print(text)
  return 0


if __name__ == "__main__": sys.exit(main())
