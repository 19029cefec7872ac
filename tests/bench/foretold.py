#!/usr/bin/env python3
"""What `kdc cost` foretells of every workload beside what is measured: the time of a step (`kdc profile`, the median of some rounds) and the memory of a run.
   usage: foretold.py --kdc KDC --work DIR [--only a,b] [--threads "2 1"] [--rounds 3] [--options "--backend=jit"]
   fails where a step of 1 ms or more is off by more than 30 %, and names those"""
import argparse, json, os, statistics, sys
from sides import Bad, Sides, process
from table import row
from works import HERE, PLANNED, chosen

def profile(sides, w, threads, options):
  """Of a run of PLANNED steps, of which a few are measured: the program that trains."""
  argv = [sides.program, "profile", "--json", "--quiet", "--cache", "off", "--data", sides.data, f"--threads={threads}", "--steps", "5" if w.ms > 50 else "20", *options]
  for s in [*w.sets, f"steps={PLANNED}"]: argv += ["--set", s]
  return next(p for p in json.loads(process([*argv, os.path.join(HERE, w.program + ".kd")]).out)["programs"] if p["trains"])

def main():
  p = argparse.ArgumentParser()
  p.add_argument("--kdc", required=True)
  p.add_argument("--work", required=True, help="folder for data and runs, as bench.py's")
  p.add_argument("--only")
  p.add_argument("--threads", default="2 1")
  p.add_argument("--rounds", type=int, default=3, help="how often each is measured; rounds go through all workloads")
  p.add_argument("--options", default="", help="more options of kdc")
  o = p.parse_args()
  sides, options = Sides(o.kdc, o.work, torch=False), o.options.split()
  sides.prepare()
  which = [(w, t) for t in map(int, o.threads.split()) for w in chosen(o.only)]
  found = {k: [] for k in which}
  for _ in range(o.rounds):
    for w, t in which: found[w, t].append(profile(sides, w, t, options))
  print(row(["workload", "threads", "foretold, ms", "measured, ms", "slowest / fastest round", "foretold / measured", "kernels", "memory said, MiB", "resident at its peak, MiB"]))
  print(row(["---"] * 9))
  off = []
  for w, t in which:
    said, all = sides.foretell(w, t, options), [1e3 * p["seconds"] for p in found[w, t]]
    ms, last = statistics.median(all), found[w, t][-1]
    ratio = said.ms / ms
    if ms >= 1 and not .7 <= ratio <= 1.3: off.append(f"{w.name} on {t}: {ratio:.2f}")
    kernels = sum(k["seconds"] for k in last["kernels"]) / last["seconds"]
    print(row([w.label, str(t), f"{said.ms:.3g}", f"{ms:.3g}", f"{max(all) / min(all):.2f}", f"{ratio:.2f}" + (" (!)" if off and off[-1].startswith(f"{w.name} on {t}:") else ""), f"{100 * kernels:.1f} %",
               f"{said.kib / 1024:.1f}", f"{sides.kdc(w, t, memory=True, options=options).peak / 1024:.1f}"]), flush=True)
  print("\nOff by more than 30 % at 1 ms and more: " + ("; ".join(off) or "none") + ".")
  return 1 if off else 0

if __name__ == "__main__":
  try: sys.exit(main())
  except Bad as e: sys.exit(f"foretold: {e}")
