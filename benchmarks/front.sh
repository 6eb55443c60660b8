#!/usr/bin/env bash
# One training, the whole front: a trained run of the preset `fast` at seven worths of a part, without training again.
#   benchmarks/front.sh RUN FOLDER
set -euo pipefail
run=$1 folder=$2
for weight in 1600 2000 3000 5000 8000 11500 16000; do
    daif evaluate "$run" --checkpoint latest --acting deterministic --preference "weight=$weight" \
        --output "$folder/evaluation-weight-$weight.json"
done
