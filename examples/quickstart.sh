#!/bin/sh
# Runs every tool at small size: random patterns and MNIST go through training, the Hessian and the exponents.
#
#     examples/quickstart.sh [FOLDER [STEPS]]
#
# The script leaves its files and pictures in FOLDER (default: quickstart), and prints its results next to the numbers
# of the paper. STEPS shortens every training, for a first look.
# The first use sets up .venv. After that the script takes less than three minutes on two cores. The size of the paper
# needs the same command lines with larger numbers: -P 23k, --width 51, --protocol paper-hinge, on a GPU.
set -eu
CDPATH='' cd -P -- "$(dirname "$0")/.."
PATH=$PWD/bin:$PATH
out=${1:-quickstart}
mkdir -p "$out"
bin/setup

# Such small trainings are fastest on one thread, and two pipes run at the same time. At this size 10 thousand steps
# at rate 1e-3 do the same as 100 thousand steps at the paper's rate of 1e-4.
train="jam-train --width 10 --depth 3 --lr 1e-3 --steps ${2:-10k} --quiet"
export OMP_NUM_THREADS=1
say() { printf '\n== %s\n' "$*" >&2; }

say "random patterns: eight numbers of patterns P, one network of N = 311"
jam-data random -P 1200 -d 10 --seed 1 --test 1000 |
    $train --patterns 300,450,600,700,800,900,1000,1200 |
    tee "$out/random.safetensors" |
    jam-hessian --quiet -o "$out/random-spectra.safetensors" &
random=$!
trap 'kill "$random"; exit 130' INT TERM

say "the jump: one hidden layer, N = 91, every run a certified minimum"
jam-data random -P 300 -d 8 --seed 1 |
    jam-train --optimizer newton --width 10 --depth 1 --patterns 160:300:10 --seeds 0:2 --quiet \
        -o "$out/minima.safetensors"
jam-nstar fit "$out/minima.safetensors" --quiet -o "$out/minima-fit.jsonl"

say "MNIST: parity of the digit, first ten principal components, and a search for N*(P) on random patterns"
jam-data images examples/data --labels parity --pca 10 -P 1800 --seed 0 |
    $train --patterns 450,900,1350,1800 |
    tee "$out/mnist.safetensors" |
    jam-hessian --quiet -o "$out/mnist-spectra.safetensors"
jam-data random -P 400 -d 10 --seed 2 |
    jam-nstar search --patterns 100,200,400 --depth 3 --lr 2e-3 --steps ${2:-2k} --precision 0.4 --quiet \
        -o "$out/nstar.jsonl"
jam-nstar fit "$out/nstar.jsonl" --quiet -o "$out/nstar-fit.jsonl"
wait $random

say "effective parameters, cusps, exponents"
jam-neff "$out"/random.safetensors "$out"/mnist.safetensors --quiet -o "$out/neff.jsonl"
jam-cusps "$out"/random.safetensors --quiet -o "$out/cusps.jsonl"
jam-gaps "$out"/random.safetensors --quiet -o "$out/gaps.json"

say "pictures"
jam-plot "$out/minima.safetensors" --figure jump --quiet -o "$out/jump.png"
jam-plot "$out/random-spectra.safetensors" --quiet -o "$out/spectra.png"
jam-plot "$out/gaps.json" --quiet -o "$out/gaps.png"
jam-plot "$out/nstar.jsonl" "$out/nstar-fit.jsonl" --quiet -o "$out/nstar.png"

say "results, next to those of arXiv:1809.09349"
for name in random-spectra mnist-spectra mnist; do
    jam-show "$out/$name.safetensors" >"$out/$name.jsonl"
done
.venv/bin/python examples/summary.py "$out"
