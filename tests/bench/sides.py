"""The two sides of bench.py, kdc and PyTorch, a process each time: how they are run, and whether both compute the same."""
import json, math, os, re, signal, subprocess, sys, tempfile, threading, time
from types import SimpleNamespace
from works import HERE, PLANNED

TOLERANCE, CHECKED = 1e-4, 6                     # relative, of the losses of the first steps: weights, data, batches and draws are the same
CALM = .08                                       # share of the machine that others may have meanwhile


class Bad(Exception): pass

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

def process(argv, env=None, memory=False, limit=600, enough=None):
  """Runs it: standard output, when it began, peak of anonymous memory in KiB or 0, share of the machine that others had. It is interrupted after the line
     of which `enough` says so, and may then end as kdc does that is stopped on request."""
  before, idle, own = *ticks(), os.times()
  start = time.clock_gettime(time.CLOCK_MONOTONIC)
  peak, done, out, late = [0], threading.Event(), [], []
  with tempfile.TemporaryFile("w+") as err:
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=err, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})})
    def watch():
      while not done.wait(.004): peak[0] = max(peak[0], anonymous(p.pid))
    def stop(): late.append(p.kill())
    timer, watcher, asked = threading.Timer(limit, stop), threading.Thread(target=watch), False
    timer.start()
    if memory: watcher.start()
    try:
      for line in p.stdout:
        out.append(line)
        if enough and not asked and enough(line):
          asked = True
          p.send_signal(signal.SIGINT)
      p.wait()
    finally:
      timer.cancel()
      done.set()
      if p.poll() is None: p.kill()
      p.wait()
      p.stdout.close()
    if memory: watcher.join()
    if late: raise Bad(f"{' '.join(argv)} took more than {limit} s")
    if p.returncode and not (asked and p.returncode == 3 and "stopped on request" in out[-1]):
      err.seek(0)
      raise Bad(f"{' '.join(argv)}\n{err.read()[-2000:]}{''.join(out[-3:]) if enough else ''}")
  after, idle2, own2 = *ticks(), os.times()
  mine = sum(own2[:4]) - sum(own[:4])
  others = max(0, ((after - before) - (idle2 - idle) - mine * os.sysconf("SC_CLK_TCK")) / max(1, after - before))
  return SimpleNamespace(out="".join(out), start=start, peak=peak[0], others=others)

def enough_steps(first, least, seconds):
  """Of kdc's lines of progress, which are at least a tenth of a second apart: `least` steps and `seconds` after the `first` ones. The step at hand still ends."""
  begun = [None]
  def enough(line):
    m = re.search(r'"event":"step".*"step":(\d+),', line)
    if not m or int(m[1]) < first: return False
    if begun[0] is None: begun[0] = time.monotonic()
    return int(m[1]) >= first + least - 1 and time.monotonic() - begun[0] >= seconds
  return enough


# --- the two sides ------------------------------------------------------------------------------------------------------------------------
class Sides:
  """`results` is by "WORKLOAD THREADS COLUMN"; threads are 0 for what does not depend on them."""
  def __init__(self, kdc, work, torch=True, out=None):
    self.program, self.work, self.out, self.data = os.path.abspath(kdc), os.path.abspath(work), out, os.path.join(os.path.abspath(work), "data")
    self.results = json.load(open(out)) if out and os.path.exists(out) else {}
    self.info = dict(l.split(": ", 1) for l in process([self.program, "info"]).out.splitlines() if ": " in l)
    self.native = self.info.get("native code", "").startswith("LLVM")
    self.torch = self.find_torch() if torch else None
    os.makedirs(self.work, exist_ok=True)

  def find_torch(self):
    for python in ("/usr/bin/python3", sys.executable):
      if subprocess.run([python, "-c", "import torch, numpy"], capture_output=True).returncode == 0: return python
    print("python3-torch is missing: kdc alone is measured, and no losses are compared", file=sys.stderr)
    return None

  def prepare(self):
    if not os.path.exists(os.path.join(self.data, "report.json")): process([self.program, "run", "--quiet", "--out", self.data, "--seed", "1", os.path.join(HERE, "prepare.kd")])

  def kdc(self, w, threads, steps=None, seconds=0., least=3, skip=3, options=(), sets=(), kdc=None, out="run", memory=False, env=None):
    """A run of `steps` steps, or one that plans PLANNED and is stopped when enough are measured: with losses, ends and times of its steps."""
    record, folder = os.path.join(self.work, "steps.jsonl"), os.path.join(self.work, out)
    argv = [kdc or self.program, "run", "--quiet", "--json", "--checkpoint", "0", "--seed", "1", "--threads", str(threads), "--data", self.data, "--out", folder, "--steps", record]
    for s in [*w.sets, f"steps={steps or PLANNED}", *sets]: argv += ["--set", s]
    if "--cache" not in options: options = [*options, "--cache", "off"]
    r = process([*argv, *options, os.path.join(HERE, w.program + ".kd")], env, memory, enough=None if steps else enough_steps(skip, least, seconds))
    text = open(record).read()
    r.ends = [float(x) for x in re.findall(r'"seconds":([0-9.]+)', text)]
    r.losses = [float(x) for x in re.findall(r'"loss":([^,}]+)', text)] if steps else []
    r.times = [b - a for a, b in zip(r.ends[skip - 1:], r.ends[skip:])]
    r.native = json.load(open(os.path.join(folder, "settings.json")))["jit"]
    return r

  def pytorch(self, w, threads, steps=3, seconds=0., skip=3, variant="eager", env=None, more=(), memory=False):
    argv = [self.torch, os.path.join(HERE, "torch", "bench.py"), w.torch, "--data", self.data, "--run", os.path.join(self.work, "trace-" + w.name), "--threads", str(threads),
            "--steps", str(steps), "--seconds", str(seconds), "--warmup", str(skip), "--variant", variant, *more]
    r = process(argv, env, memory)
    vars(r).update(json.loads(r.out.strip().split("\n")[-1]))
    return r

  def note(self, w, threads, what, value):
    self.results[f"{w.name} {threads} {what}"] = value

  def keep(self):
    if not self.out: return
    with open(self.out + ".new", "w") as f: json.dump(self.results, f, indent=0)
    os.replace(self.out + ".new", self.out)

  # --- do both compute the same? ---
  def check(self, w):
    """The first run leaves where it began and its batches; native code begins there, too."""
    rate, worst = [f"rate={w.rate}"] if w.rate else [], 0
    mine = [self.kdc(w, 2, CHECKED, sets=["trace=1", *rate], options=["--backend", b], out=("trace-" if b == "interp" else "native-") + w.name).losses
            for b in (["interp", "jit"] if self.native else ["interp"])]
    if not self.torch: return
    theirs = self.pytorch(w, 2, CHECKED, env=tuned(), more=["--check", "--rate", str(w.rate)]).losses
    changes = max(theirs) - min(theirs) > 1e-4 * abs(theirs[0])
    for losses in mine: worst = max(worst, *(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(losses, theirs)))
    self.note(w, 0, "check", {"kdc": mine[0], "torch": theirs, "worst": worst})
    if not (worst <= TOLERANCE and all(len(m) == len(theirs) == CHECKED for m in mine) and changes):
      raise Bad(f"{w.name}: the losses differ by {worst:.2g}{'' if changes else ', or do not move'}\n  kdc     {mine}\n  PyTorch {theirs}")
    print(f"{w.name}: the losses of {CHECKED} steps agree in {len(mine)} back end{'s' if len(mine) > 1 else ''}, largest relative difference {worst:.1e}", file=sys.stderr)

  def check_cached(self, w):
    """The steps of an epoch and three more, with the teacher's answers from the cache, against those that ask the teacher."""
    lived, kept = (self.kdc(w, 2, w.epoch + 3, options=["--cache", c]).losses for c in ("off", "memory"))
    worst = max(abs(a - b) / max(abs(a), 1e-12) for a, b in zip(lived, kept))
    self.note(w, 0, "check cached", {"worst": worst})
    if worst > TOLERANCE: raise Bad(f"{w.name}: the losses of {w.epoch + 3} steps with a cached teacher differ by {worst:.2g} from those without")
    print(f"{w.name}: the losses of {w.epoch + 3} steps are those of a live teacher with a cached one, largest relative difference {worst:.1e}", file=sys.stderr)

  def foretell(self, w, threads, options=()):
    """What `kdc cost` says of a run of PLANNED steps: milliseconds a step, KiB, and the whole of it."""
    argv = [self.program, "cost", "--json", "--quiet", "--cache", "off", "--threads", str(threads), "--data", self.data, *options]
    for s in [*w.sets, f"steps={PLANNED}"]: argv += ["--set", s]
    said = json.loads(process([*argv, os.path.join(HERE, w.program + ".kd")]).out)
    return SimpleNamespace(ms=1e3 * sum(p["seconds"] for p in said["programs"] if p["trains"]), kib=said["memory"]["total"] / 1024)

  def machine(self):
    """What the figures hold for, in a line."""
    first = lambda argv: subprocess.run(argv, capture_output=True, text=True).stdout.split("\n")[0]
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1)) / 2**20
    parts = [f"{self.info.get('processor', '')}; {memory:.0f} GiB", f"{first(['gcc', '--version'])}; {self.info.get('numeric libraries', '')}", f"native code: {self.info.get('native code', 'none')}"]
    if self.torch: parts.append("PyTorch " + first([self.torch, "-c", "import torch; print(torch.__version__)"]))
    self.results["machine"] = "; ".join(parts)
