#!/bin/sh
# The study behind docs/study-fitnet.md: a student alone against FitNet + KD on Fashion-MNIST.   usage: study.sh KDC [FOLDER [SEEDS]]
#   1. grid.kd for each weight decay: 4 learning rates for each method, read on 5,000 validation images (seed 0)
#   2. seeds.kd for each seed (1 .. SEEDS, default 5) with each method's best point: test accuracy, read once
# Prints the grid, the seeds, and the paired difference with its standard error. Two runs at a time, one thread each.
set -eu
kdc=$1 out=${2:-runs/study} seeds=${3:-5}
here=$(dirname "$0")
mkdir -p "$out"

for decay in 1e-4 5e-4; do
  "$kdc" run --quiet --threads 1 --seed 0 --out "$out/grid-$decay" --set decay=$decay "$here/grid.kd" >"$out/grid-$decay.txt" &
done
wait
echo "validation accuracy, seed 0"
for decay in 1e-4 5e-4; do sed "s/^/weight decay $decay  /" "$out/grid-$decay.txt"; done

# best METHOD: "rate decay" of its best point
best() {
  for decay in 1e-4 5e-4; do sed -n "s/^$1_\([0-9]*\) .* \([0-9.]*\)\$/\2 \1 $decay/p" "$out/grid-$decay.txt"; done | sort -rn | head -1 |
    awk '{ printf "%.2f %s\n", $2 / 100, $3 }'
}
set -- $(best alone) $(best distilled)
echo "chosen: alone rate $1 decay $2, distilled rate $3 decay $4"

one() { "$kdc" run --quiet --threads 1 --seed "$1" --out "$out/seed-$1" --set rate_alone=$2 --set decay_alone=$3 --set rate_distilled=$4 \
  --set decay_distilled=$5 "$here/seeds.kd" >"$out/seed-$1.txt"; }
seed=1
while [ "$seed" -le "$seeds" ]; do
  one "$seed" "$@" &
  if [ $((seed + 1)) -le "$seeds" ]; then one $((seed + 1)) "$@" & fi
  wait
  seed=$((seed + 2))
done

echo "test accuracy"
seed=1
while [ "$seed" -le "$seeds" ]; do
  awk -v seed="$seed" '{ v[$1] = $NF } END { print "seed", seed, "teacher", v["teacher"], "alone", v["alone"], "distilled", v["distilled"] }' "$out/seed-$seed.txt"
  seed=$((seed + 1))
done | tee "$out/seeds.txt"
awk '{ n++; t += $4; a += $6; s += $8; d = $8 - $6; sum += d; square += d * d }
     END { m = sum / n; se = n > 1 ? sqrt((square - n * m * m) / (n - 1) / n) : 0
           printf "mean: teacher %.4f, alone %.4f, distilled %.4f\npaired difference %.4f, standard error %.4f, %d seeds\n", t / n, a / n, s / n, m, se, n }' "$out/seeds.txt"
