"""Trains one small residual net in PyTorch and in kdc and compares them number by number.
  usage: compare.py TRACE ROOT [--keep DIR]    TRACE: the program kd_torch_trace; ROOT: the source tree

The net is ResNet-8 of width 4 (net.kd: batch norm, two strided 1x1 shortcuts) on 8x8 digits, batch 16, SGD with lr 0.1, momentum 0.9, weight
decay 5e-4. Weights are drawn by PyTorch; both sides get the same weights and the same batches.

(a) Double precision, free running: kdc's naive twins against torch.float64. At each of 50 steps |kdc - torch| <= 1e-6 |torch| for the loss.
(b) Single precision, each of 100 steps begun anew from PyTorch's weights, momentum buffers and running statistics: the loss within 1e-5 of its
    size, and every parameter, momentum buffer and running statistic within 1e-4 of its largest change, max |kdc - torch| <= 1e-4 max |torch -
    before|, in that step.
(c) Single precision, free running for 100 steps: 3 times the distance between PyTorch with 1 and with 2 threads. One pair of runs says little:
    two runs stay at rounding's distance until in one of them a rectifier's input falls on the other side of 0, then part by powers of ten; who
    meets that first is luck. So there are 15 pairs with weights and batches of their own, and a run's distance at a step is the largest
    |difference of the losses| up to that step. Rounding: at every step the lower quartile over the pairs (the 4th smallest, which no rare event
    moves) of kdc's distance to PyTorch with 2 threads is at most 3 times the lower quartile of PyTorch's own, or 2 units of single precision
    (2^-22 each at the first loss), as PyTorch's own may be 0 in the first steps. Luck: of kdc's runs at most 5 more than of PyTorch's have
    parted (distance over 1e-4) at the end; two fair draws of 15 differ by more in about 2 cases of 100. Also printed: the medians, which jump where
    half of the runs have parted, and in how many single pairs kdc stays within 3 times that pair's distance all the way.
(b) runs kdc with 1 and with 2 threads, (c) with 1.

Exit code: 0 all hold, 1 one does not, 77 PyTorch is not installed here (python3-torch in Debian)."""
import ctypes, json, os, random, statistics, struct, subprocess, sys, tempfile
try:
  import torch
except ImportError as missing:
  print(f"skipped: {sys.executable} has no PyTorch ({missing}); Debian's package is python3-torch")
  sys.exit(77)
from torch import nn
from torch.nn import functional as F

BATCH, WIDTH, CLASSES, STEPS, FREE_DOUBLE, PAIRS = 16, 4, 10, 100, 50, 15
FLOOR, PARTED, LUCK = 2 * 2.0 ** -22, 1e-4, 5
TYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "U8": torch.uint8}


# --- safetensors: an 8-byte length, a JSON header, the bytes ---------------------------------------------------------------------------------
def write(path, tensors):
  head, parts, at = {}, [], 0
  for name, t in sorted(tensors.items(), key=lambda p: (-p[1].element_size(), p[0])):
    t = t.contiguous()
    size = t.numel() * t.element_size()
    head[name] = {"dtype": next(k for k, v in TYPES.items() if v == t.dtype), "shape": list(t.shape), "data_offsets": [at, at + size]}
    parts.append(ctypes.string_at(t.data_ptr(), size))
    at += size
  text = json.dumps(head).encode()
  text += b" " * (-len(text) % 8)
  with open(path, "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def read(path):
  with open(path, "rb") as f:
    data = bytearray(f.read())
  start = 8 + struct.unpack_from("<Q", data)[0]
  out = {}
  for name, d in json.loads(data[8:start]).items():
    if name != "__metadata__":
      a, b = d["data_offsets"]
      out[name] = torch.frombuffer(data[start + a:start + b], dtype=TYPES[d["dtype"]]).reshape(d["shape"])
  return out


# --- the net; its parts bear the names that net.kd's library gives them ------------------------------------------------------------------------
class Block(nn.Module):
  def __init__(self, cin, cout, stride):
    super().__init__()
    self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
    self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
    if stride != 1 or cin != cout:
      self.down, self.shortcut = nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)

  def forward(self, x):
    h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
    return F.relu(h + (self.shortcut(self.down(x)) if hasattr(self, "down") else x))


class Stage(nn.Module):
  def __init__(self, cin, cout, stride):
    super().__init__()
    self.block = torch.nn.ModuleList([Block(cin, cout, stride)])

  def forward(self, x):
    return self.block[0](x)


class Net(nn.Module):
  def __init__(self):
    super().__init__()
    self.conv1, self.bn1 = nn.Conv2d(1, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH)
    self.stage1, self.stage2, self.stage3 = Stage(WIDTH, WIDTH, 1), Stage(WIDTH, 2 * WIDTH, 2), Stage(2 * WIDTH, 4 * WIDTH, 2)
    self.logits = nn.Linear(4 * WIDTH, CLASSES)

  def forward(self, x):
    h = self.stage3(self.stage2(self.stage1(F.relu(self.bn1(self.conv1(x))))))
    return self.logits(h.mean((2, 3)))


def cells(net, opt):
  """Everything that a step changes, under the names of kd_torch_trace."""
  out = {f"S.{k}": v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
  for k, p in net.named_parameters():
    out[f"momentum.S.{k}"] = opt.state[p].get("momentum_buffer", torch.zeros_like(p)) if p in opt.state else torch.zeros_like(p)
  return out


# --- PyTorch's side ----------------------------------------------------------------------------------------------------------------------------
def torch_run(start, dtype, steps):
  """Trains from the first row of every list in `start`: the loss and every cell after each step, as lists."""
  net = Net().to(dtype)
  net.load_state_dict({k: start[f"S.{k}"][0].to(dtype) if f"S.{k}" in start else v for k, v in net.state_dict().items()})
  opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
  out = {"loss": []}
  for x, y in list(zip(start["D.image"], start["D.label"]))[:steps]:
    opt.zero_grad()
    loss = F.cross_entropy(net((x.to(dtype) / 16).unsqueeze(1)), y.long())
    loss.backward()
    opt.step()
    out["loss"].append(loss.detach().double())
    for k, v in cells(net, opt).items():
      out.setdefault(k, []).append(v.detach().clone())
  return {k: torch.stack(v) for k, v in out.items()}


def torch_side(threads, folder):
  """The runs of one process, which has one thread count."""
  torch.set_num_threads(threads)
  for pair in range(PAIRS):
    start = read(f"{folder}/start{pair}")
    write(f"{folder}/single{pair}.{threads}t", torch_run(start, torch.float32, STEPS))
    if threads == 1 and pair == 0:
      write(f"{folder}/double", torch_run(start, torch.float64, FREE_DOUBLE))


def idx(path):
  with open(path, "rb") as f:
    data = bytearray(f.read())
  shape = struct.unpack_from(f">{data[3]}I", data, 4)
  return torch.frombuffer(data[4 + 4 * data[3]:], dtype=torch.uint8).reshape(shape)


def make_starts(root, folder):
  digits = os.path.join(root, "examples", "data", "digits")
  image, label = idx(f"{digits}/train-images-idx3-ubyte"), idx(f"{digits}/train-labels-idx1-ubyte")
  for pair in range(PAIRS):
    draw, order = random.Random(pair + 1), []
    while len(order) < STEPS * BATCH:
      order += draw.sample(range(len(image)), len(image))
    torch.manual_seed(pair + 1)
    net = Net()
    start = {k: v.unsqueeze(0) for k, v in cells(net, torch.optim.SGD(net.parameters(), lr=0.1)).items()}
    rows = torch.tensor(order[:STEPS * BATCH])
    start["D.image"], start["D.label"] = image[rows].reshape(STEPS, BATCH, 8, 8), label[rows].reshape(STEPS, BATCH)
    write(f"{folder}/start{pair}", start)


# --- kdc's side --------------------------------------------------------------------------------------------------------------------------------
def kdc_run(trace, root, folder, kind, threads, steps, start):
  write(f"{folder}/in", start)
  subprocess.run([trace, os.path.join(root, "tests", "torch", "net.kd"), os.path.join(root, "stdlib"), kind, str(threads), str(steps),
                  f"{folder}/in", f"{folder}/out"], check=True)
  return read(f"{folder}/out")


# --- the three comparisons -----------------------------------------------------------------------------------------------------------------------
def line(ok, what, measured, bound):
  print(f"  {'ok  ' if ok else 'FAIL'}  {what:<62} {measured:>10.3g}   bound {bound:.3g}")
  return ok


def relative(a, b):
  return (a - b).abs() / b.abs()


def double_free(trace, root, folder):
  start, want = read(f"{folder}/start0"), read(f"{folder}/double")
  start = {k: v.double() if v.dtype == torch.float32 else v for k, v in start.items()}
  have = kdc_run(trace, root, folder, "f64", 1, FREE_DOUBLE, start)
  r = relative(have["loss"], want["loss"])
  print(f"(a) double precision, {FREE_DOUBLE} free steps: loss {want['loss'][0]:.4f} to {want['loss'][-1]:.4f}; relative difference of the loss")
  for k in (0, 9, 24):
    print(f"        step {k + 1:<3} {r[k]:.3g}")
  return line(bool(r.max() <= 1e-6), "largest over the steps", r.max(), 1e-6)


def single_restarted(trace, root, folder):
  start, want = read(f"{folder}/start0"), read(f"{folder}/single0.1t")
  names = [k for k in want if k != "loss"]
  before = {k: torch.cat((start[k], want[k][:-1])) for k in names}
  print(f"(b) single precision, {STEPS} steps, each from PyTorch's state; {len(names)} tensors a step")
  return all([restarted(kdc_run(trace, root, folder, "f32", t, STEPS, {**start, **before}), want, before, names, t) for t in (1, 2)])


def restarted(have, want, before, names, threads):
  if set(have) != set(want):
    print(f"  FAIL  only one side has {sorted(set(have) ^ set(want))}")
    return False
  r = relative(have["loss"], want["loss"])
  share = {}
  for k in names:
    axes = tuple(range(1, want[k].dim()))
    off, change = (have[k] - want[k]).abs().amax(axes), (want[k] - before[k]).abs().amax(axes)
    share[k] = torch.where(off == 0, torch.zeros_like(off), off / change)
  each = torch.stack([share[k] for k in names])
  worst = int(each.max(1).values.argmax())
  ok = line(bool(r.max() <= 1e-5), f"{threads} thread{'s' * (threads > 1)}: loss: largest relative difference", r.max(), 1e-5)
  for kind, some in (("weights", [i for i, k in enumerate(names) if not k.startswith("momentum") and "running" not in k]),
                     ("momentum", [i for i, k in enumerate(names) if k.startswith("momentum")]),
                     ("running statistics", [i for i, k in enumerate(names) if "running" in k])):
    ok &= line(bool(each[some].max() <= 1e-4), f"  {kind}: largest difference by largest change", each[some].max(), 1e-4)
  over = int((each > 1e-4).sum())
  print(f"        median {each.median():.3g}; worst: {names[worst]} in step {int(each[worst].argmax()) + 1}; {over} of {each.numel()} over the bound")
  return ok


def single_free(trace, root, folder):
  mine, theirs = [], []
  for pair in range(PAIRS):
    one, two = read(f"{folder}/single{pair}.1t")["loss"], read(f"{folder}/single{pair}.2t")["loss"]
    have = kdc_run(trace, root, folder, "f32", 1, STEPS, read(f"{folder}/start{pair}"))["loss"]
    mine.append(torch.cummax((have - two).abs(), 0).values)
    theirs.append(torch.cummax((one - two).abs(), 0).values)
  mine, theirs = torch.stack(mine), torch.stack(theirs)
  quarter = (PAIRS + 1) // 4
  (m, t), (mm, tm) = ([x.kthvalue(k, 0).values for x in (mine, theirs)] for k in (quarter, (PAIRS + 1) // 2))
  print(f"(c) single precision, {STEPS} free steps, {PAIRS} pairs: distances of the loss\n                lower quartile               median\n"
        "        step    kdc-torch2  torch1-torch2    kdc-torch2  torch1-torch2")
  for k in (0, 4, 9, 19, 29, 39, 49, 59, 69, 79, 89, 99):
    print(f"        {k + 1:<4}    {m[k]:<10.3g}  {t[k]:<13.3g}    {mm[k]:<10.3g}  {tm[k]:.3g}")
  parted, own = int((mine[:, -1] > PARTED).sum()), int((theirs[:, -1] > PARTED).sum())
  alone = int((mine <= torch.clamp(3 * theirs, min=FLOOR)).all(1).sum())
  worst = (m / torch.clamp(3 * t, min=FLOOR)).max()
  ok = line(bool(worst <= 1), "largest over the steps of kdc's quartile by 3 times PyTorch's", worst, 1)
  ok &= line(parted <= own + LUCK, f"runs of kdc that have parted (of PyTorch: {own})", parted, own + LUCK)
  print(f"        {alone} of {PAIRS} single pairs stay within 3 times their own distance at every step")
  return ok


def main():
  trace, root = sys.argv[1], sys.argv[2]
  folder = sys.argv[4] if sys.argv[3:4] == ["--keep"] else None
  with tempfile.TemporaryDirectory() as temporary:
    folder = folder or temporary
    make_starts(root, folder)
    for threads in (1, 2):
      subprocess.run([sys.executable, __file__, "--torch", str(threads), folder], check=True)
    print(f"PyTorch {torch.__version__}; ResNet-8 of width {WIDTH}, batch {BATCH}, 8x8 digits; lr 0.1, momentum 0.9, weight decay 5e-4")
    done = [f(trace, root, folder) for f in (double_free, single_restarted, single_free)]
  return 0 if all(done) else 1


if __name__ == "__main__":
  if sys.argv[1:2] == ["--torch"]:
    torch_side(int(sys.argv[2]), sys.argv[3])
  else:
    sys.exit(main())
