"""A workload in PyTorch: bench.py WORKLOAD --data DIR --run DIR [options]; prints one line of JSON."""
import common
a = common.arguments()
import torch, torch.nn as nn, torch.nn.functional as F
import losses, nets


def has(v): return v in a.variant

def hinton(zs, zt, y):
  return .1 * F.cross_entropy(zs, y) + .9 * 16. * F.kl_div(F.log_softmax(zs / 4., 1), F.softmax(zt / 4., 1), reduction='batchmean')

def student(net, name="student"): return common.load(net, f"{a.run}/{name}.safetensors")

def teacher(net, name, example):
  """What an expert does in torch with a frozen network: trace, freeze (folds batch norm), optimise for inference (oneDNN)."""
  t = common.load(net.eval(), f"{a.data}/{name}.teacher.safetensors")
  if has("channels_last"): t = t.to(memory_format=torch.channels_last)
  if not has("frozen"): return t
  with torch.no_grad(): return torch.jit.optimize_for_inference(torch.jit.trace(t, example))

def fetch(source, size, shape=None):
  """get(i) -> (x, y), gathered in each step, as a loader without workers does."""
  x, y = common.array(f"{a.data}/{source}.x"), common.array(f"{a.data}/{source}.label")
  if shape: x = x.view(-1, *shape)
  pick = common.batches(a, len(x), size)
  def get(i):
    j = pick(i)
    b = x[j]
    return b.contiguous(memory_format=torch.channels_last) if has("channels_last") else b, y[j]
  return get

def sgd(*nets): return torch.optim.SGD([p for n in nets for p in n.parameters()], a.rate or .05, momentum=.9, weight_decay=5e-4)

def go(opt, loss):
  opt.zero_grad(set_to_none=True); loss.backward(); opt.step()
  return loss

def logits(name, s, t, source, size, shape=None):
  """(a), (b), (c), and the tiny one: Hinton's loss."""
  get = fetch(source, size, shape)
  x, _ = get(0)
  t, s = teacher(t, name, x), student(s)
  if has("channels_last"): s = s.to(memory_format=torch.channels_last)
  opt, loss_of = sgd(s), torch.jit.script(hinton) if has("jit") else hinton
  with torch.no_grad(): known = t(x)
  def step(i):
    x, y = get(i)
    if a.plain: return go(opt, F.cross_entropy(s(x), y))
    if a.teacher:
      with torch.no_grad(): zt = t(x)
    else: zt = known
    return go(opt, loss_of(s(x), zt, y))
  return step

def wrn():
  get = fetch("images", 64)
  x, _ = get(0)
  t, s, r = teacher(nets.WideResNet(40), "wrn", x), student(nets.WideResNet(16)), student(nets.Regressor(64, 64), "regressor")
  if has("channels_last"): s, r = s.to(memory_format=torch.channels_last), r.to(memory_format=torch.channels_last)
  opt = sgd(s) if a.plain else sgd(s, r)
  with torch.no_grad(): known = t(x)[0]
  def step(i):
    x, y = get(i)
    if a.plain: return go(opt, F.cross_entropy(s(x)[1], y))
    if a.teacher:
      with torch.no_grad(): ft = t(x, True)[0] if has("trim") else t(x)[0]
    else: ft = known
    fs, zs = s(x)
    return go(opt, F.cross_entropy(zs, y) + 100 * F.mse_loss(r(fs), ft))
  return step

def bert():
  tokens = common.array(f"{a.data}/texts.tokens")
  pick = common.batches(a, len(tokens), 16)
  t, s, proj = teacher(nets.Bert(6, 256), "bert", None), student(nets.Bert(3, 128)), student(nn.Linear(128, 256), "proj")
  opt = torch.optim.AdamW(list(s.parameters()) + list(proj.parameters()), 5e-5)
  with torch.no_grad(): known = t(tokens[:16])
  def step(i):
    x = tokens[pick(i)]
    if a.teacher:
      with torch.no_grad(): ht, at, zt = t(x)
    else: ht, at, zt = known
    hs, as_, zs = s(x)
    loss = sum(F.mse_loss(as_[m], at[2 * m + 1]) for m in range(3))
    loss = loss + sum(F.mse_loss(proj(hs[m]), ht[2 * m]) for m in range(4))
    return go(opt, loss - (F.softmax(zt, -1) * F.log_softmax(zs, -1)).sum(-1).mean())
  return step

def crd():
  B, K, D, M, T, mom, Z = 64, 4096, 128, 50000, .07, .5, [-1., -1.]
  class Embed(nn.Module):
    def __init__(s, name):
      super().__init__(); s.l = student(nn.Linear(256, D), name)
    def forward(s, x): return F.normalize(s.l(x))
  es, et = Embed("embed_s"), Embed("embed_t")
  m1, m2 = (common.weights(f"{a.run}/{n}.safetensors")[n] for n in ("memory_s", "memory_t"))
  gain = nn.Parameter(torch.ones(()))
  opt = torch.optim.SGD([gain] + list(es.parameters()) + list(et.parameters()), .05, momentum=.9, weight_decay=5e-4)
  fs, ft = common.array(f"{a.data}/features.s"), common.array(f"{a.data}/features.t")
  pick, rows = common.batches(a, 2048, B), common.array(f"{a.run}/order.rows") if a.check else None
  def nce(o):                       # o: B x (K+1), column 0 positive
    c = K / M
    p, n = o[:, 0:1], o[:, 1:]
    return -(torch.log(p / (p + c + 1e-7)).sum() + torch.log(c / (n + c + 1e-7)).sum()) / B
  def step(i):
    j = pick(i)
    v1, v2 = es(gain * fs[j]), et(ft[j])
    if a.check: idx = rows[i * B:(i + 1) * B]
    else: idx = torch.randint(0, M, (B, K + 1))
    y = idx[:, 0].contiguous()
    w1 = torch.index_select(m1, 0, idx.reshape(-1)).view(B, K + 1, D)
    o2 = torch.exp(torch.bmm(w1, v2.view(B, D, 1)) / T)
    w2 = torch.index_select(m2, 0, idx.reshape(-1)).view(B, K + 1, D)
    o1 = torch.exp(torch.bmm(w2, v1.view(B, D, 1)) / T)
    if Z[0] < 0: Z[0], Z[1] = float(o1.mean()) * M, float(o2.mean()) * M
    loss = go(opt, nce((o1 / Z[0]).squeeze(2)) + nce((o2 / Z[1]).squeeze(2)))
    with torch.no_grad():
      for m, v in ((m1, v1), (m2, v2)): m.index_copy_(0, y, F.normalize(torch.index_select(m, 0, y) * mom + v * (1 - mom)))
    return loss
  return step

def alone(name):
  many = name == "at"
  def read(c): return [common.array(f"{a.run}/start.{c}{k}") for k in (1, 2, 3)] if many else [common.array(f"{a.run}/start.{c}")]
  s, t = read("s"), read("t")
  for q in s: q.requires_grad_(True)
  more = [common.array(f"{a.run}/start.y")] if name == "dkd" else []
  f = torch.jit.script(getattr(losses, name)) if has("jit") else getattr(losses, name)
  def step(i):
    for q in s: q.grad = None
    loss = f(s, t) if many else f(s[0], t[0], *more)
    loss.backward()
    if a.rate:
      with torch.no_grad():
        for q in s: q -= a.rate * q.grad
    return loss
  return step


make = {"mlp": lambda: logits("mlp", nets.Mlp(784, [300, 300], 10), nets.Mlp(784, [1200, 1200], 10), "vectors", 128),
        "tiny": lambda: logits("tiny", nets.Mlp(4, [8, 8], 2), nets.Mlp(4, [8, 8], 2), "points", 1),
        "cnn": lambda: logits("cnn", nets.LeNet(), nets.Cnn(), "digits", 64, (1, 28, 28)),
        "resnet": lambda: logits("resnet", nets.ResNet(8), nets.ResNet(32), "images", 64),
        "wrn": wrn, "bert": bert, "crd": crd}
torch.set_grad_enabled(False)
step = make[a.workload]() if a.workload in make else alone(a.workload)
torch.set_grad_enabled(True)
common.run(a, step)
