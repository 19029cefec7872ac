#!/usr/bin/env python3
"""kdc beside PyTorch, on the same machine, in turn: run.sh builds and calls this. See README.md."""
import argparse, json, math, os, platform, re, statistics, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import table


class Work:
  """A workload: its program, what a step takes about (ms, 2 threads), PyTorch's variants, how many steps an epoch has, and the aims: ratio live, ratio cached."""
  def __init__(self, name, label, ms, variants=("eager",), sets=(), rate=0, epoch=0, teacher=True, aim=None, cached=None, program=None):
    self.name, self.label, self.ms, self.variants, self.rate, self.epoch, self.teacher, self.aim, self.cached = name, label, ms, variants, rate, epoch, teacher, aim, cached
    self.program, self.sets = program or name, list(sets)
    self.alone = self.program.startswith("alone/")
    self.torch = os.path.basename(self.program)

LOSS = ("eager", "jit")
WORKS = [
  Work("mlp", "(a) MLP 784-1200-1200-10 to 784-300-300-10, KD, batch 128", 2.5, ("eager", "jit"), epoch=64, aim=1.2, cached=4),
  Work("cnn", "(b) CNN on 28x28 to LeNet-5, KD, batch 64", 6, ("eager", "channels_last", "frozen", "channels_last+frozen"), epoch=64, aim=1.8, cached=5),
  Work("resnet", "(c) ResNet-32x4 to 8x4, KD, batch 64, 3x32x32", 450, ("eager", "channels_last", "frozen"), epoch=16, aim=1.7, cached=3.5),
  Work("wrn", "(d) WRN-40-2 to 16-2, FitNet hint, batch 64", 180, ("channels_last", "channels_last+trim"), rate=.005, epoch=16, aim=1.5, cached=2.5),
  Work("bert", "(e) BERT-like 6x256 to 3x128, TinyBERT's losses, batch 16 x 128", 110, epoch=128, aim=1.4, cached=3.5),
  Work("crd", "(f) CRD, bank 50,000 x 128, 4,096 negatives", 25, epoch=32, teacher=False, aim=8),
  Work("tiny", "tiny network, one sample", .05, epoch=1024, aim=20),
  Work("kd_64x100", "(g) KD 64 x 100", .05, LOSS, ["batch=64", "classes=100"], 100, program="alone/kd", aim=1.5),
  Work("kd_256x1000", "(g) KD 256 x 1000", .6, LOSS, ["batch=256", "classes=1000"], 1000, program="alone/kd", aim=1.5),
  Work("dkd_64x100", "(g) DKD 64 x 100", .1, LOSS, ["batch=64", "classes=100"], 10, program="alone/dkd", aim=1.5),
  Work("dkd_256x1000", "(g) DKD 256 x 1000", 1.4, LOSS, ["batch=256", "classes=1000"], 100, program="alone/dkd", aim=1.5),
  Work("rkd", "(g) RKD 64 x 256", 6, LOSS, ["batch=64", "width=256"], 1, program="alone/rkd", aim=1.5),
  Work("at", "(g) AT, 3 maps", 9, LOSS, [], 1e6, program="alone/at", aim=1.5),
  Work("nst_128x16x16", "(g) NST 128 x 16 x 16", 20, ("eager",), ["channels=128", "side=16"], 1e4, program="alone/nst", aim=1.5),
  Work("nst_256x8x8", "(g) NST 256 x 8 x 8", 24, ("eager",), ["channels=256", "side=8"], 1e4, program="alone/nst", aim=1.5),
  Work("sp_256x8x8", "(g) SP 256 x 8 x 8", 3, ("eager",), ["channels=256", "side=8"], 1e7, program="alone/sp", aim=1.5),
  Work("sp_128x16x16", "(g) SP 128 x 16 x 16", 5, ("eager",), ["channels=128", "side=16"], 1e7, program="alone/sp", aim=1.5),
  Work("ickd_256x8x8", "(g) ICKD 256 x 8 x 8", 22, ("eager",), ["channels=256", "side=8"], .1, program="alone/ickd", aim=1.5),
  Work("cwd_256x8x8", "(g) CWD 256 x 8 x 8", 3, LOSS, ["channels=256", "side=8"], 1e4, program="alone/cwd", aim=1.5),
  Work("cwd_8x19x128x128", "(g) CWD 8 x 19 x 128 x 128", 8, LOSS, ["batch=8", "channels=19", "side=128"], 1e5, program="alone/cwd", aim=1.5),
]
TOLERANCE, CHECKED = 1e-4, 6                     # relative, of the losses of the first steps: weights, data, batches and draws are the same


# --- processes ------------------------------------------------------------------------------------------------------------------------
def tuned():
  """PyTorch at its best on this kind of machine: OpenMP's OpenBLAS with the widest kernels, ATen's too, and a heap that keeps its memory."""
  flags = open("/proc/cpuinfo").read()
  wide = " avx512f" in flags and " avx512vl" in flags
  env = {"ATEN_CPU_CAPABILITY": "avx512" if wide else "avx2", "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "268435456"}
  folder = "/usr/lib/x86_64-linux-gnu/openblas-openmp"
  if os.path.isdir(folder): env["LD_LIBRARY_PATH"] = folder
  env["OPENBLAS_CORETYPE"] = "SkylakeX" if wide else "Haswell"
  return env

def ticks():
  v = [int(x) for x in open("/proc/stat").readline().split()[1:]]
  return sum(v[:8]), v[3] + v[4]

def anonymous(pid):
  try: return int(re.search(r"RssAnon:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1))
  except (OSError, AttributeError): return 0

class Bad(Exception): pass

def process(argv, env=None, memory=False, limit=600):
  """Runs it: (standard output, when it began, peak of anonymous memory in KiB or 0, share of the machine that others had)."""
  before, idle, own = *ticks(), os.times()
  start = time.clock_gettime(time.CLOCK_MONOTONIC)
  p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})})
  peak, done = [0], threading.Event()
  def watch():
    while not done.wait(.004): peak[0] = max(peak[0], anonymous(p.pid))
  w = threading.Thread(target=watch)
  if memory: w.start()
  try: out, err = p.communicate(timeout=limit)
  except subprocess.TimeoutExpired:
    p.kill()
    raise Bad(f"{' '.join(argv)} took more than {limit} s")
  finally:
    done.set()
  if memory: w.join()
  if p.returncode: raise Bad(f"{' '.join(argv)}\n{err[-2000:]}")
  after, idle2, own2 = *ticks(), os.times()
  mine = sum(own2[:4]) - sum(own[:4])
  others = max(0, ((after - before) - (idle2 - idle) - mine * os.sysconf("SC_CLK_TCK")) / max(1, after - before))
  return out, start, peak[0], others


# --- the two sides ------------------------------------------------------------------------------------------------------------------------
class Bench:
  def __init__(self, o):
    self.o, self.work, self.data = o, o.work, os.path.join(o.work, "data")
    self.results = json.load(open(o.out)) if o.out and os.path.exists(o.out) else {}
    self.help = subprocess.run([o.kdc, "help", "run"], capture_output=True, text=True).stdout
    self.torch = None if o.no_torch else self.find_torch()
    os.makedirs(self.work, exist_ok=True)

  def find_torch(self):
    for python in ("/usr/bin/python3", sys.executable):
      if subprocess.run([python, "-c", "import torch, numpy"], capture_output=True).returncode == 0: return python
    print("python3-torch is missing: kdc alone is measured, and no losses are compared", file=sys.stderr)
    return None

  def prepare(self):
    if not os.path.exists(os.path.join(self.data, "report.json")): process([self.o.kdc, "run", "--quiet", "--out", self.data, "--seed", "1", os.path.join(HERE, "prepare.kd")])

  def kdc(self, w, threads, steps, options=(), sets=(), kdc=None, out="run", memory=False, env=None):
    """Losses and ends of all steps, and what process() says."""
    record = os.path.join(self.work, "steps.jsonl")
    argv = [kdc or self.o.kdc, "run", "--quiet", "--checkpoint", "0", "--seed", "1", "--threads", str(threads), "--data", self.data, "--out", os.path.join(self.work, out), "--steps", record]
    for s in [*w.sets, f"steps={steps}", *sets]: argv += ["--set", s]
    if "--cache" not in options: options = [*options, "--cache", "off"]
    _, start, peak, others = process([*argv, *options, os.path.join(HERE, w.program + ".kd")], env=env, memory=memory)
    lines = [json.loads(l) for l in open(record)]
    return [l["values"]["loss"] for l in lines], [l["seconds"] for l in lines], start, peak, others

  def pytorch(self, w, threads, steps, variant="eager", env=None, more=(), memory=False):
    argv = [self.torch, os.path.join(HERE, "torch", "bench.py"), w.torch, "--data", self.data, "--run", os.path.join(self.work, "trace-" + w.name), "--threads", str(threads),
            "--steps", str(steps), "--variant", variant, *more]
    out, start, peak, others = process(argv, env=env, memory=memory)
    return json.loads(out.strip().split("\n")[-1]), start, peak, others

  # --- do both compute the same? ---
  def check(self, w):
    rate = [f"rate={w.rate}"] if w.rate else []
    mine = self.kdc(w, 2, CHECKED, sets=["trace=1", *rate], out="trace-" + w.name)[0]
    if not self.torch: return
    theirs = self.pytorch(w, 2, CHECKED, env=tuned(), more=["--check", "--rate", str(w.rate)])[0]["losses"]
    worst = max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(mine, theirs))
    changes = max(theirs) - min(theirs) > 1e-4 * abs(theirs[0])
    self.note(w, 0, "check", {"kdc": mine, "torch": theirs, "worst": worst})
    if not (worst <= TOLERANCE and len(mine) == len(theirs) == CHECKED and changes):
      raise Bad(f"{w.name}: the losses differ by {worst:.2g}{'' if changes else ', or do not move'}\n  kdc     {mine}\n  PyTorch {theirs}")
    print(f"{w.name}: the losses of {CHECKED} steps agree, largest relative difference {worst:.1e}", file=sys.stderr)

  def check_cached(self, w):
    """The steps of a second epoch, which has the teacher's answers from the cache, against those that ask the teacher."""
    lived, kept = (self.kdc(w, 2, w.epoch + 3, options=["--cache", c])[0] for c in ("off", "memory"))
    worst = max(abs(a - b) / max(abs(a), 1e-12) for a, b in zip(lived, kept))
    self.note(w, 0, "check cached", {"worst": worst})
    if worst > TOLERANCE: raise Bad(f"{w.name}: the losses of {w.epoch + 3} steps with a cached teacher differ by {worst:.2g} from those without")
    print(f"{w.name}: the losses of {w.epoch + 3} steps are those of a live teacher with a cached one, largest relative difference {worst:.1e}", file=sys.stderr)

  def foretell(self, w, threads):
    """What `kdc cost` says of a step."""
    argv = [self.o.kdc, "cost", "--json", "--quiet", "--cache", "off", "--threads", str(threads), "--data", self.data]
    for s in [*w.sets, "steps=20"]: argv += ["--set", s]
    said = json.loads(process([*argv, os.path.join(HERE, w.program + ".kd")])[0])
    self.note(w, threads, "foretold", {"ms": 1e3 * sum(p["seconds"] for p in said["programs"] if p["trains"]), "kib": said["memory"]["total"] / 1024})

  # --- measuring ---
  def steps(self, w): return max(self.o.least, min(5000, math.ceil(1000 * self.o.seconds / w.ms)))

  def note(self, w, threads, what, value):
    self.results[f"{w.name} {threads} {what}"] = value
    if self.o.out:
      with open(self.o.out + ".new", "w") as f: json.dump(self.results, f, indent=0)
      os.replace(self.o.out + ".new", self.o.out)

  def calm(self, f):
    """The result of f, again (twice at most) where others had more than 8 % of the machine meanwhile."""
    for again in (1, 2, 3):
      r = f()
      if r[-1] < .08 or again == 3: return r

  def kdc_times(self, w, threads, **k):
    skip = k.pop("skip", min(5, self.o.least))
    _, ends, _, peak, others = self.calm(lambda: self.kdc(w, threads, self.steps(w) + skip, **k))
    return [b - a for a, b in zip(ends[skip - 1:], ends[skip:])], others

  def torch_times(self, w, threads, variant, env, **k):
    r, _, _, others = self.calm(lambda: self.pytorch(w, threads, max(self.o.least, self.steps(w) // k.pop("part", 1)), variant, env, **k))
    return r["times"], others

  def measure(self, w, threads):
    """All columns of a row, in turn, `rounds` times; times of the rounds are pooled."""
    best = w.variants[0]
    if self.torch and len(w.variants) > 1:
      first = {v: statistics.median(self.torch_times(w, threads, v, tuned(), part=3)[0]) for v in w.variants}
      best = min(first, key=first.get)
    again = "channels_last" if "channels_last" in best else "eager"
    turns = {"kdc": lambda: self.kdc_times(w, threads)}
    if self.torch: turns["torch"] = lambda: self.torch_times(w, threads, best, tuned())
    if not self.o.quick:
      if self.torch: turns["torch default"] = lambda: self.torch_times(w, threads, "eager", None, part=2)
      if w.teacher and not w.alone:
        if self.torch: turns["torch no teacher"] = lambda: self.torch_times(w, threads, again, tuned(), more=["--teacher", "0"])
        if w.name not in ("bert", "tiny"): turns["plain"] = lambda: self.kdc_times(w, threads, sets=["plain=1"])
      turns["deterministic"] = lambda: self.kdc_times(w, threads, options=["--deterministic"])
      if self.o.nojit: turns["nojit"] = lambda: self.kdc_times(w, threads, kdc=self.o.nojit)
      for b in ("interp", "jit"):
        if "--backend" in self.help: turns[b] = lambda b=b: self.kdc_times(w, threads, options=["--backend", b])
    if w.teacher and not w.alone: turns["cached"] = lambda: self.kdc_times(w, threads, options=["--cache", "memory"], skip=w.epoch + 3)
    pool, disturbed = {k: [] for k in turns}, {k: 0 for k in turns}
    for _ in range(self.o.rounds):
      for k, f in turns.items():
        t, others = f()
        pool[k] += t
        disturbed[k] = max(disturbed[k], others)
    for k, t in pool.items():
      t.sort()
      self.note(w, threads, k, {"ms": 1e3 * statistics.median(t), "least": 1e3 * t[0], "p90": 1e3 * t[int(.9 * len(t))], "n": len(t), "others": disturbed[k], **({"variant": best} if k == "torch" else {})})
    if not self.o.quick and threads == max(self.o.threads): self.busy(w, threads, best)
    if threads == max(self.o.threads): self.memory(w, threads, best)
    self.foretell(w, threads)
    self.progress(w, threads)

  def busy(self, w, threads, best):
    """The other core taken by a process that only counts."""
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
      _, ends, _, _, _ = self.kdc(w, threads, self.steps(w) + 5)
      self.note(w, threads, "kdc busy", {"ms": 1e3 * statistics.median(b - a for a, b in zip(ends[4:], ends[5:]))})
      if self.torch: self.note(w, threads, "torch busy", {"ms": 1e3 * statistics.median(self.pytorch(w, threads, self.steps(w), best, tuned())[0]["times"])})
    finally:
      spin.kill()
      spin.wait()

  def memory(self, w, threads, best):
    few = max(3, min(50, self.steps(w)))
    self.note(w, threads, "kdc memory", {"kib": self.kdc(w, threads, few, memory=True)[3]})
    if self.torch: self.note(w, threads, "torch memory", {"kib": self.pytorch(w, threads, few, best, tuned(), memory=True)[2]})

  def machine(self):
    """What the figures hold for, in a line."""
    info = dict(l.split(": ", 1) for l in process([self.o.kdc, "info"])[0].splitlines() if ": " in l)
    first = lambda argv: subprocess.run(argv, capture_output=True, text=True).stdout.split("\n")[0]
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1)) / 2**20
    parts = [f"{info.get('processor', platform.processor())}; {memory:.0f} GiB", f"{first(['gcc', '--version'])}; {info.get('numeric libraries', '')}", f"native code: {info.get('native code', 'none')}"]
    if self.torch: parts.append("PyTorch " + first([self.torch, "-c", "import torch; print(torch.__version__)"]))
    self.results["machine"] = "; ".join(parts)

  def begin(self, w, threads):
    """From the start of the process to the end of the first step."""
    def mine(options=(), cold=False):
      with tempfile.TemporaryDirectory() as empty:
        _, ends, start, _, _ = self.kdc(w, threads, 1, options, env={"XDG_CACHE_HOME": empty} if cold else None)
      return 1e3 * (ends[0] - start)
    few = 3 if self.o.quick else 7
    self.note(w, threads, "kdc start", {"ms": statistics.median(mine() for _ in range(few))})
    if "--backend" in self.help:
      jit = ["--backend", "jit"]
      self.note(w, threads, "kdc start jit cold", {"ms": statistics.median(mine(jit, cold=True) for _ in range(few))})
      mine(jit)
      self.note(w, threads, "kdc start jit", {"ms": statistics.median(mine(jit) for _ in range(few))})
    if self.torch:
      def theirs():
        r, start, _, _ = self.pytorch(w, threads, 1, env=tuned(), more=["--warmup", "1"])
        return 1e3 * (r["first"] - start)
      self.note(w, threads, "torch start", {"ms": statistics.median(theirs() for _ in range(3))})

  def progress(self, w, threads):
    get = lambda k: self.results.get(f"{w.name} {threads} {k}", {}).get("ms")
    k, t = get("kdc"), get("torch")
    print(f"{w.name}, {threads} threads: kdc {k:.4g} ms" + (f", PyTorch {t:.4g} ms, ratio {t / k:.2f}" if t else ""), file=sys.stderr)


def main():
  p = argparse.ArgumentParser()
  p.add_argument("--kdc", required=True)
  p.add_argument("--nojit", help="kdc of the preset nojit, for a column of its own")
  p.add_argument("--work", required=True, help="folder for data and runs")
  p.add_argument("--only", help="workloads, separated by commas; a name also takes those that begin with it")
  p.add_argument("--threads", default="2 1")
  p.add_argument("--quick", action="store_true", help="a short run of the most important columns")
  p.add_argument("--check-only", action="store_true", help="only: both sides compute the same")
  p.add_argument("--no-check", action="store_true", help="the losses were compared before (--check-only), in the same folder")
  p.add_argument("--no-torch", action="store_true")
  p.add_argument("--out", help="results as JSON; what is there already is kept, and the table shows all of it")
  p.add_argument("--table", action="store_true", help="only print the table of --out")
  p.add_argument("--doc", help="put the table into this document, between the lines that mark its place, and print nothing")
  o = p.parse_args()
  o.threads = [int(t) for t in o.threads.replace(",", " ").split()]
  o.seconds, o.rounds, o.least = (.4, 1, 3) if o.quick else (1.5, 2, 5)
  works = [w for w in WORKS if not o.only or any(w.name == n or w.name.startswith(n + "_") or (n and w.name.startswith(n)) for n in o.only.split(","))]
  if not works: p.error("no such workload; there are " + ", ".join(w.name for w in WORKS))
  b = Bench(o)
  try:
    if not o.table:
      b.prepare()
      b.machine()
      for w in works:
        if not o.no_check:
          b.check(w)
          if w.teacher and not w.alone: b.check_cached(w)
        if o.check_only: continue
        for t in o.threads:
          b.measure(w, t)
          if w.name == "mlp": b.begin(w, t)
  except Bad as e:
    print("bench:", e, file=sys.stderr)
    return 1
  if o.check_only: return 0
  text = table.table(b.results, WORKS if o.out else works, o.threads, CHECKED, TOLERANCE)
  if o.doc: table.put(o.doc, text)
  else: print(text)
  return 0


if __name__ == "__main__": sys.exit(main())
