"""The tables of bench.py, in Markdown, from its results."""
import math, os


def number(v): return "" if v is None else f"{v:.3g}" if v < 100 else f"{v:.0f}"
def ratio(a, b): return "" if a is None or b is None else f"{a / b:.2f}" if a / b < 10 else f"{a / b:.1f}"

def row(cells): return "| " + " | ".join(cells) + " |"

def means(have, of):
  """The losses alone on the average, and the workload that comes off worst, in each back end."""
  out = []
  for name, k in (("kdc as it comes", "kdc"), ("--backend=interp", "interp"), ("--backend=jit", "jit")):
    r = {w.name: of(w, "torch") / of(w, k) for w in have if of(w, "torch") and of(w, k)}
    losses = [r[w.name] for w in have if w.alone and w.name in r]
    if not r: continue
    worst = min(r, key=r.get)
    out.append(f"- {name}: " + (f"geometric mean of the {len(losses)} losses alone {math.exp(sum(map(math.log, losses)) / len(losses)):.2f} (aim 6); " if losses else "") + f"least ratio {r[worst]:.2f} ({worst})")
  return out

def table(results, works, threads, checked, tolerance):
  def of(w, t, k, what="ms"): return results.get(f"{w.name} {t} {k}", {}).get(what)
  out = []
  for t in threads:
    have = [w for w in works if of(w, t, "kdc")]
    if not have: continue
    out += ["", f"### {t} thread{'s' if t > 1 else ''}: milliseconds a step, and PyTorch's best by kdc's", "",
            row(["workload", "PyTorch default", "best", "(variant)", "kdc, live teacher", "ratio", "aim", "kdc, cached", "ratio", "aim"]), row(["---"] * 10)]
    for w in have:
      best, live, cached = of(w, t, "torch"), of(w, t, "kdc"), of(w, t, "cached")
      mark = "" if (of(w, t, "kdc", "others") or 0) < .08 and (of(w, t, "torch", "others") or 0) < .08 else " *"
      out.append(row([w.label + mark, number(of(w, t, "torch default")), number(best), (of(w, t, "torch", "variant") or "").replace("_", " "), number(live), ratio(best, live),
                      number(w.aim), number(cached), ratio(best, cached), number(w.cached) if cached else ""]))
    out += [""] + means(have, lambda w, k: of(w, t, k))
    out += ["", f"### {t} thread{'s' if t > 1 else ''}: kdc's columns, milliseconds a step", "",
            row(["workload", "live", "interp", "PyTorch best / interp", "jit", "PyTorch best / jit", "deterministic: cost", "nojit build", "PyTorch best / nojit", "plain student", "cached / plain", "PyTorch without teacher", "foretold / live"]), row(["---"] * 13)]
    for w in have:
      live = of(w, t, "kdc")
      out.append(row([w.name, number(live), number(of(w, t, "interp")), ratio(of(w, t, "torch"), of(w, t, "interp")), number(of(w, t, "jit")), ratio(of(w, t, "torch"), of(w, t, "jit")), ratio(of(w, t, "deterministic"), live), number(of(w, t, "nojit")),
                      ratio(of(w, t, "torch"), of(w, t, "nojit")), number(of(w, t, "plain")), ratio(of(w, t, "cached"), of(w, t, "plain")), number(of(w, t, "torch no teacher")),
                      ratio(of(w, t, "foretold"), live)]))
  top = max(threads)
  have = [w for w in works if of(w, top, "kdc memory", "kib")]
  if have:
    out += ["", "### Memory (peak of anonymous pages, MiB), a busy machine, threads", "",
            row(["workload", "kdc", "said by kdc cost", "PyTorch", "kdc, other core busy: ms", "PyTorch, other core busy: ms", "ratio", f"kdc: 1 thread by {top}"]), row(["---"] * 8)]
    for w in have:
      mib = lambda k: (of(w, top, k, "kib") or 0) / 1024
      out.append(row([w.name, f"{mib('kdc memory'):.0f}", f"{mib('foretold'):.0f}" if mib("foretold") else "", f"{mib('torch memory'):.0f}" if mib("torch memory") else "", number(of(w, top, "kdc busy")), number(of(w, top, "torch busy")),
                      ratio(of(w, top, "torch busy"), of(w, top, "kdc busy")), ratio(of(w, 1, "kdc"), of(w, top, "kdc")) if top > 1 else ""]))
  for w in works:
    for t in threads:
      k, p, cold, warm = (of(w, t, x) for x in ("kdc start", "torch start", "kdc start jit cold", "kdc start jit"))
      if k: out += ["", f"From the start of the process to the end of the first step of {w.label[:3]}, {t} thread{'s' if t > 1 else ''}: kdc {k:.0f} ms" +
                    (f"; --backend=jit {cold:.0f} ms, with its groups compiled before {warm:.0f} ms" if cold and warm else "") + (f"; PyTorch {p:.0f} ms." if p else ".")]
  checks = [(w.name, results[f"{w.name} 0 check"]["worst"]) for w in works if f"{w.name} 0 check" in results]
  if checks:
    name, worst = max(checks, key=lambda c: c[1])
    out += ["", f"Both compute the same: the losses of {checked} steps of {len(checks)} workloads differ by {worst:.1e} of themselves at most ({name}; at most {tolerance:g} passes)."]
  if any(" *" in l for l in out): out += ["", "\\* other processes had more than 8 % of the machine meanwhile."]
  if "machine" in results: out += ["", "Measured on: " + results["machine"] + "."]
  return "\n".join(out[1:])

def put(path, text):
  """Into a document, between the lines that mark the place."""
  doc = open(path).read()
  begin, end = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
  if doc.count(begin) != 1 or doc.count(end) != 1: raise SystemExit(f"bench: {path} has no place marked for the tables ({begin.strip()} ... {end.strip()})")
  with open(path + ".new", "w") as f: f.write(doc[:doc.index(begin) + len(begin)] + "\n" + text + "\n\n" + doc[doc.index(end):])
  os.replace(path + ".new", path)
