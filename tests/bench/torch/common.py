"""What the PyTorch side of the benchmark shares: arguments, files that kdc wrote, the timed loop, one line of JSON as the result.

Import this BEFORE torch: the number of threads must be in the environment when the BLAS loads."""
import argparse, json, os, struct, sys, time


def arguments():
  p = argparse.ArgumentParser()
  p.add_argument("workload")
  p.add_argument("--data", required=True, help="the run folder of prepare.kd")
  p.add_argument("--run", required=True, help="the run folder of the workload with trace=1: where it began, and its batches")
  p.add_argument("--threads", type=int, default=2)
  p.add_argument("--steps", type=int, default=20, help="so many at least are timed")
  p.add_argument("--seconds", type=float, default=0, help="and for so long")
  p.add_argument("--warmup", type=int, default=3)
  p.add_argument("--variant", default="eager", help="eager, or + between some of channels_last, frozen (teacher), trim (teacher ends at its tap), jit (loss)")
  p.add_argument("--teacher", type=int, default=1, help="0: its answer is a constant, as a cache would have it")
  p.add_argument("--plain", type=int, default=0, help="1: the student alone, on labels")
  p.add_argument("--check", action="store_true", help="the batches of the run, and the losses")
  p.add_argument("--rate", type=float, default=0, help="the rate of descent instead of the usual one, which is 0 for losses alone")
  p.add_argument("--set", action="append", default=[], help="sizes of a loss alone: name=number")
  a = p.parse_args()
  a.variant = [] if a.variant == "eager" else a.variant.split("+")
  a.set = {k: int(v) for k, v in (s.split("=") for s in a.set)}
  for v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[v] = str(a.threads)
  import torch
  torch.set_num_threads(a.threads)
  torch.manual_seed(1)
  return a


def array(path):
  import numpy, torch
  return torch.from_numpy(numpy.load(path + ".npy"))


def weights(path):
  """A safetensors file of single precision: a header in JSON behind its length, then the tensors."""
  import numpy, torch
  with open(path, "rb") as f:
    raw = f.read()
  n = struct.unpack("<Q", raw[:8])[0]
  out = {}
  for name, t in json.loads(raw[8:8 + n]).items():
    if name == "__metadata__": continue
    assert t["dtype"] == "F32", name
    lo, hi = t["data_offsets"]
    out[name] = torch.from_numpy(numpy.frombuffer(raw[8 + n + lo:8 + n + hi], dtype="<f4").reshape(t["shape"]).copy())
  return out


def load(module, path):
  """Every tensor of the file and of the module must be there."""
  have = weights(path)
  own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
  assert have.keys() == own.keys(), (path, sorted(have.keys() ^ own.keys()))
  for k, v in own.items():
    assert v.shape == have[k].shape, (path, k, v.shape, have[k].shape)
    v.copy_(have[k])
  return module


def batches(a, n, size):
  """The numbers of a step's samples: those of the run, or drawn as a loader without workers would."""
  import torch
  order = array(a.run + "/order.index") if a.check else None
  return lambda i: order[i * size:(i + 1) * size] if a.check else torch.randint(0, n, (size,))


def run(a, step):
  """step(i) does a step and returns its loss."""
  loss = step(0)
  first = time.clock_gettime(time.CLOCK_MONOTONIC)
  losses, times, spent, i = [float(loss.detach())], [], 0, 1
  while i < a.steps if a.check else i < a.warmup + a.steps or spent < a.seconds:
    start = time.perf_counter()
    loss = step(i)
    if i >= a.warmup:
      times.append(time.perf_counter() - start)
      spent += times[-1]
    if a.check: losses.append(float(loss.detach()))
    i += 1
  print(json.dumps({"first": first, "times": times, "losses": losses}), flush=True)
