"""The workloads of bench.py, and what is aimed at."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
PLANNED = 100_000                                # training steps that every run of kdc plans, as a real one does; it is stopped when enough of them are measured


class Work:
  """A workload: its program, what a step takes about (ms, 2 threads), PyTorch's variants, how many steps an epoch has, the aims: ratio live, ratio cached;
  and the settings that put a KD loss in place of another one."""
  def __init__(self, name, label, ms, variants=("eager",), sets=(), rate=0, epoch=0, teacher=True, aim=None, cached=None, program=None, kd=()):
    self.name, self.label, self.ms, self.variants, self.rate, self.epoch, self.teacher, self.aim, self.cached = name, label, ms, variants, rate, epoch, teacher, aim, cached
    self.program, self.sets, self.kd = program or name, list(sets), list(kd)
    self.alone = self.program.startswith("alone/")
    self.torch = os.path.basename(self.program)

LOSS = ("eager", "jit")
WORKS = [
  Work("mlp", "(a) MLP 784-1200-1200-10 to 784-300-300-10, KD, batch 128", 2.5, ("eager", "jit"), epoch=64, aim=1.2, cached=4),
  Work("cnn", "(b) CNN on 28x28 to LeNet-5, KD, batch 64", 6, ("eager", "channels_last", "frozen", "channels_last+frozen"), epoch=64, aim=1.8, cached=5),
  Work("resnet", "(c) ResNet-32x4 to 8x4, KD, batch 64, 3x32x32", 450, ("eager", "channels_last", "frozen"), epoch=16, aim=1.7, cached=3.5),
  Work("wrn", "(d) WRN-40-2 to 16-2, FitNet hint, batch 64", 180, ("channels_last", "channels_last+trim"), rate=.005, epoch=16, aim=1.5, cached=2.5, kd=["logits=1"]),
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


def chosen(only):
  """Those named, or whose name begins so; all without a choice."""
  return [w for w in WORKS if not only or any(n and w.name.startswith(n) for n in only.split(","))]
