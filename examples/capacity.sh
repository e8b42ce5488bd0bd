#!/bin/sh
# Measures the capacity of the spherical perceptron, P*/N, and prints it next to Gardner's.
#
#     examples/capacity.sh [FOLDER [D [DATASETS [MARGIN...]]]]
#
# P* of one dataset is the largest number of its first patterns that some W of ‖W‖ = 1 satisfies at this margin. It differs
# from one dataset to another by a part of 1/√(2 D), so the capacity is a mean. With the defaults (D = 100, 50 datasets,
# the margins 0, 0.5 and -0.2) its standard error is 1%. This takes some 25 minutes on one idle core. FOLDER (default:
# capacity) has the journal of each search: run the same command again to go on after an interruption.
set -eu
CDPATH='' cd -P -- "$(dirname "$0")/.."
PATH=$PWD/bin:$PATH
out=${1:-capacity} d=${2:-100} datasets=${3:-50}
if [ $# -gt 3 ]; then shift 3; else set -- 0 0.5 -0.2; fi
mkdir -p "$out"
bin/setup
export OMP_NUM_THREADS=1

seed=1
while [ "$seed" -le "$datasets" ]; do
    data=$out/d$d-$seed.safetensors
    jam-data random --gaussian -P $((8 * d)) -d "$d" --seed "$seed" --quiet -o "$data"
    for margin in "$@"; do
        search=$out/d$d-$seed-margin$margin
        [ -e "$search.jsonl" ] || jam-nstar search "$data" --vary patterns --seed 0 --precision 0.1 \
            --depth 0 --no-bias --norm 1 --epsilon "$margin" --steps 5k --lr 1e-2 \
            --journal "$search.journal" --resume --quiet -o "$search.jsonl"
    done
    seed=$((seed + 1))
done
for margin in "$@"; do
    cat "$out/d$d"-*-margin"$margin".jsonl
done | jam-nstar fit - --quiet -o "$out/fit-d$d.jsonl"
.venv/bin/python examples/capacity.py "$out/fit-d$d.jsonl"
