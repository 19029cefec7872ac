"""The networks of the workloads. Modules are named as kdc names its parts, so that its files load as they are."""
import math, torch, torch.nn as nn, torch.nn.functional as F


class Step(nn.Module):
  """A linear layer and its ReLU."""
  def __init__(s, i, o):
    super().__init__(); s.linear = nn.Linear(i, o)
  def forward(s, x): return F.relu(s.linear(x))

class Mlp(nn.Module):
  def __init__(s, i, hidden, classes):
    super().__init__()
    s.layer = nn.ModuleList(Step(a, b) for a, b in zip([i] + hidden, hidden))
    s.logits = nn.Linear(hidden[-1], classes)
  def forward(s, x):
    for l in s.layer: x = l(x)
    return s.logits(x)


class Cnn(nn.Module):
  def __init__(s):
    super().__init__()
    s.conv1, s.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
    s.fc1, s.logits = nn.Linear(9216, 128), nn.Linear(128, 10)
  def forward(s, x):
    x = F.max_pool2d(F.relu(s.conv2(F.relu(s.conv1(x)))), 2).flatten(1)
    return s.logits(F.relu(s.fc1(x)))

class Stage(nn.Module):
  def __init__(s, i, o, pad):
    super().__init__(); s.conv2d = nn.Conv2d(i, o, 5, padding=pad)
  def forward(s, x): return F.max_pool2d(F.relu(s.conv2d(x)), 2)

class Hidden(nn.Module):
  def __init__(s):
    super().__init__(); s.linear, s.linear_2 = nn.Linear(400, 120), nn.Linear(120, 84)
  def forward(s, x): return F.relu(s.linear_2(F.relu(s.linear(x))))

class LeNet(nn.Module):
  def __init__(s):
    super().__init__(); s.stage1, s.stage2, s.hidden, s.logits = Stage(1, 6, 2), Stage(6, 16, 0), Hidden(), nn.Linear(84, 10)
  def forward(s, x): return s.logits(s.hidden(s.stage2(s.stage1(x)).flatten(1)))


class Blocks(nn.Module):
  def __init__(s, blocks):
    super().__init__(); s.block = nn.ModuleList(blocks)
  def forward(s, x):
    for b in s.block: x = b(x)
    return x

class Basic(nn.Module):
  def __init__(s, i, o, stride):
    super().__init__()
    s.conv1, s.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
    s.conv2, s.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
    if stride != 1 or i != o: s.down, s.shortcut = nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)
    else: s.down = None
  def forward(s, x):
    r = x if s.down is None else s.shortcut(s.down(x))
    return F.relu(s.bn2(s.conv2(F.relu(s.bn1(s.conv1(x)), inplace=True))) + r, inplace=True)

class ResNet(nn.Module):
  def __init__(s, depth, w=(32, 64, 128, 256), classes=100):
    super().__init__()
    n = (depth - 2) // 6
    s.conv1, s.bn1 = nn.Conv2d(3, w[0], 3, 1, 1, bias=False), nn.BatchNorm2d(w[0])
    def stage(i, o, st): return Blocks([Basic(i, o, st)] + [Basic(o, o, 1) for _ in range(n - 1)])
    s.stage1, s.stage2, s.stage3 = stage(w[0], w[1], 1), stage(w[1], w[2], 2), stage(w[2], w[3], 2)
    s.logits = nn.Linear(w[3], classes)
  def forward(s, x): return s.logits(s.stage3(s.stage2(s.stage1(F.relu(s.bn1(s.conv1(x)), inplace=True)))).mean((2, 3)))

class Wide(nn.Module):
  def __init__(s, i, o, stride):
    super().__init__()
    s.bn1, s.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, stride, 1, bias=False)
    s.bn2, s.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
    s.shortcut = nn.Conv2d(i, o, 1, stride, bias=False) if i != o else None
  def forward(s, x):
    y = F.relu(s.bn1(x))
    r = x if s.shortcut is None else s.shortcut(y)
    return r + s.conv2(F.relu(s.bn2(s.conv1(y)), inplace=True))

class WideResNet(nn.Module):
  def __init__(s, depth, k=2, classes=100):
    super().__init__()
    n, w = (depth - 4) // 6, (16, 16 * k, 32 * k, 64 * k)
    s.stem = nn.Conv2d(3, w[0], 3, 1, 1, bias=False)
    def stage(i, o, st): return Blocks([Wide(i, o, st)] + [Wide(o, o, 1) for _ in range(n - 1)])
    s.stage1, s.stage2, s.stage3 = stage(w[0], w[1], 1), stage(w[1], w[2], 2), stage(w[2], w[3], 2)
    s.bn, s.logits = nn.BatchNorm2d(w[3]), nn.Linear(w[3], classes)
  def forward(s, x, trim=False):
    f = s.stage2(s.stage1(s.stem(x)))
    return f, None if trim else s.logits(F.relu(s.bn(s.stage3(f))).mean((2, 3)))

class Regressor(nn.Module):
  def __init__(s, i, o):
    super().__init__(); s.conv, s.bn = nn.Conv2d(i, o, 1), nn.BatchNorm2d(o)
  def forward(s, x): return F.relu(s.bn(s.conv(x)))


class Attention(nn.Module):
  def __init__(s, d, h):
    super().__init__()
    s.h = h
    s.q_proj, s.k_proj, s.v_proj, s.out_proj = (nn.Linear(d, d) for _ in range(4))
  def forward(s, x):
    b, n, d = x.shape
    q, k, v = (l(x).view(b, n, s.h, d // s.h).transpose(1, 2) for l in (s.q_proj, s.k_proj, s.v_proj))
    scores = q @ k.transpose(-1, -2) / math.sqrt(d // s.h)
    return s.out_proj((F.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, n, d)), scores

class Layer(nn.Module):
  def __init__(s, d, h):
    super().__init__()
    s.self_attn, s.norm1, s.norm2 = Attention(d, h), nn.LayerNorm(d), nn.LayerNorm(d)
    s.linear1, s.linear2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
  def forward(s, x):
    y, scores = s.self_attn(x)
    x = s.norm1(x + y)
    return s.norm2(x + s.linear2(F.gelu(s.linear1(x)))), scores

class Embeddings(nn.Module):
  def __init__(s, rows, n, d):
    super().__init__(); s.token, s.position = nn.Embedding(rows, d), nn.Parameter(torch.zeros(n, d))
  def forward(s, x): return s.token(x) + s.position[:x.shape[1]]

class Bert(nn.Module):
  def __init__(s, depth, d):
    super().__init__()
    s.embeddings, s.start = Embeddings(30522, 128, d), nn.LayerNorm(d)
    s.block, s.pooler, s.logits = nn.ModuleList(Layer(d, 4) for _ in range(depth)), nn.Linear(d, d), nn.Linear(d, 2)
  def forward(s, x):
    h = s.start(s.embeddings(x))
    states, scores = [h], []
    for l in s.block:
      h, sc = l(h)
      states.append(h); scores.append(sc)
    return states, scores, s.logits(torch.tanh(s.pooler(h[:, 0])))
