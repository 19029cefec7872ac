#!/usr/bin/env python3
"""What `kdc cost` foretells of every workload beside what is measured: the time of a step (`kdc profile`) and the memory of a run.
   usage: foretold.py --kdc KDC --work DIR [--only a,b] [--threads "2 1"] [--options "--backend=jit"]      fails where a step of 1 ms or more is off by more than 30 %"""
import argparse, json, os, subprocess, sys
from bench import HERE, WORKS, process, row

def ask(o, w, threads, command, more=()):
  argv = [o.kdc, command, "--json", "--data", os.path.join(o.work, "data"), f"--threads={threads}"] + o.options.split() + list(more)
  for s in w.sets: argv += ["--set", s]
  return json.loads(subprocess.run(argv + [os.path.join(HERE, w.program + ".kd")], check=True, capture_output=True, text=True, env=o.env).stdout)

def memory(o, w, threads):
  argv = [o.kdc, "run", "--quiet", "--data", os.path.join(o.work, "data"), "--out", os.path.join(o.work, "run"), f"--threads={threads}", "--set", "steps=5"] + o.options.split()
  for s in w.sets: argv += ["--set", s]
  return process(argv + [os.path.join(HERE, w.program + ".kd")], o.env, memory=True)[2]

def main():
  p = argparse.ArgumentParser()
  p.add_argument("--kdc", required=True)
  p.add_argument("--work", required=True, help="folder for data and runs, as bench.py's")
  p.add_argument("--only")
  p.add_argument("--threads", default="2 1")
  p.add_argument("--options", default="", help="more options of kdc")
  o = p.parse_args()
  o.work = os.path.abspath(o.work)
  o.env = dict(os.environ, XDG_CACHE_HOME=os.path.join(o.work, "cache"))
  if not os.path.exists(os.path.join(o.work, "data", "report.json")):
    subprocess.run([o.kdc, "run", "--quiet", "--seed", "1", "--out", os.path.join(o.work, "data"), os.path.join(HERE, "prepare.kd")], check=True, env=o.env, stdout=subprocess.DEVNULL)
  print(row(["workload", "threads", "foretold, ms", "measured, ms", "foretold / measured", "kernels", "memory said, MiB", "resident at its peak, MiB"]))
  print(row(["---"] * 8))
  off = 0
  for threads in map(int, o.threads.split()):
    for w in WORKS:
      if o.only and not any(w.name.startswith(n) for n in o.only.split(",")): continue
      foretold, found = ask(o, w, threads, "cost"), ask(o, w, threads, "profile", ["--steps", "5" if w.ms > 50 else "20"])
      step = lambda t: next(x for x in t["programs"] if x["trains"])
      a, b = step(foretold), step(found)
      kernels = sum(k["seconds"] for k in b["kernels"]) / b["seconds"]
      peak = memory(o, w, threads)
      wrong = b["seconds"] >= 1e-3 and not 0.7 <= a["seconds"] / b["seconds"] <= 1.3
      off += wrong
      print(row([w.label, str(threads), f"{1e3 * a['seconds']:.3g}", f"{1e3 * b['seconds']:.3g}", f"{a['seconds'] / b['seconds']:.2f}" + (" (!)" if wrong else ""),
                 f"{100 * kernels:.1f} %", f"{foretold['memory']['total'] / 2**20:.1f}", f"{peak / 1024:.1f}"]), flush=True)
  return 1 if off else 0

if __name__ == "__main__": sys.exit(main())
