"""The losses of (g), as the public PyTorch code of the methods has them."""
from typing import List
import torch, torch.nn.functional as F
from torch import Tensor


def kd(s: Tensor, t: Tensor):
  return 16. * F.kl_div(F.log_softmax(s / 4., 1), F.softmax(t / 4., 1), reduction='batchmean')

def dkd(s: Tensor, t: Tensor, y: Tensor):
  T = 4.
  gt = torch.zeros_like(s).scatter_(1, y.unsqueeze(1), 1.)
  ps, pt = F.softmax(s / T, 1), F.softmax(t / T, 1)
  a1, b1 = (ps * gt).sum(1, keepdim=True), (pt * gt).sum(1, keepdim=True)
  p2, q2 = torch.cat([a1, 1. - a1], 1), torch.cat([b1, 1. - b1], 1)
  own = F.kl_div(torch.log(p2), q2, reduction='sum') * (T * T) / s.shape[0]
  rest = F.kl_div(F.log_softmax(s / T - 1000. * gt, 1), F.softmax(t / T - 1000. * gt, 1), reduction='sum') * (T * T) / s.shape[0]
  return own + 8. * rest

def distances(e: Tensor):
  sq = e.pow(2).sum(1)
  r = (sq.unsqueeze(1) + sq.unsqueeze(0) - 2 * (e @ e.t())).clamp(min=1e-12).sqrt()
  return r * (1. - torch.eye(e.shape[0]))

def rkd(s: Tensor, t: Tensor):
  td, sd = distances(t), distances(s)
  ld = F.smooth_l1_loss(sd / sd[sd > 0].mean(), td / td[td > 0].mean())
  nt = F.normalize(t.unsqueeze(0) - t.unsqueeze(1), p=2., dim=2)
  ta = torch.bmm(nt, nt.transpose(1, 2)).view(-1)
  ns = F.normalize(s.unsqueeze(0) - s.unsqueeze(1), p=2., dim=2)
  sa = torch.bmm(ns, ns.transpose(1, 2)).view(-1)
  return 25. * ld + 50. * F.smooth_l1_loss(sa, ta)

def at(s: List[Tensor], t: List[Tensor]):
  l = torch.zeros(())
  for i in range(len(s)):
    x = F.normalize(s[i].pow(2.).mean(1).view(s[i].shape[0], -1))
    y = F.normalize(t[i].pow(2.).mean(1).view(t[i].shape[0], -1))
    l = l + (x - y).pow(2.).mean()
  return l

def pairs(u: Tensor, v: Tensor): return torch.bmm(u, v.transpose(1, 2)).pow(2.)

def nst(s: Tensor, t: Tensor):
  s, t = F.normalize(s.flatten(2), dim=2), F.normalize(t.flatten(2), dim=2)
  return pairs(t, t).mean() + pairs(s, s).mean() - 2. * pairs(s, t).mean()

def sp(s: Tensor, t: Tensor):
  s, t = s.flatten(1), t.flatten(1)
  gs, gt = F.normalize(s @ s.t()), F.normalize(t @ t.t())
  return (gt - gs).pow(2.).sum() / float(s.shape[0] ** 2)

def ickd(s: Tensor, t: Tensor):
  s, t = s.flatten(2), t.flatten(2)
  gs, gt = F.normalize(torch.bmm(s, s.transpose(1, 2)), dim=2), F.normalize(torch.bmm(t, t.transpose(1, 2)), dim=2)
  return (gs - gt).pow(2.).sum() / s.shape[0]

def cwd(s: Tensor, t: Tensor):
  n, c = s.shape[0], s.shape[1]
  s, t = s.flatten(2).flatten(0, 1), t.flatten(2).flatten(0, 1)
  return 16. * F.kl_div(F.log_softmax(s / 4., 1), F.softmax(t / 4., 1), reduction='sum') / float(n * c)
