#!/usr/bin/env bash
# The whole way to a LLark in small: generated music and real tracks become pairs, a toy decoder is trained from nothing, evaluated beside the constant answer,
# imported and asked. ./demo-llark.sh, or make demo-llark. What is done is not done again; delete the folder to begin anew.
#
# DEMO_DIR    where everything goes (default training/build/demo-llark)
# DEMO_CLIPS  generated training clips (default 240); a tenth as many are generated for the test
# DEMO_STEPS  training steps (default 400)
# PYTHON      a Python with PyTorch (default training/build/torch/bin/python, made by peers/venv)
set -euo pipefail
cd "$(dirname "$0")"

dir=${DEMO_DIR:-$PWD/build/demo-llark}
clips=${DEMO_CLIPS:-240}
steps=${DEMO_STEPS:-400}
python=${PYTHON:-$PWD/build/torch/bin/python}
lark=${LARK:-$PWD/../bin/lark}
nano=$PWD/../models/lark-nano
set_=$dir/set
export LARK_NATIVE_DIR=${LARK_NATIVE_DIR:-$PWD/../bin/native/cpu}

# step says what is done, does it, and tells how long it took.
step() {
    local name=$1 begun=$SECONDS
    shift
    echo "== $name"
    "$@"
    echo "== $name took $((SECONDS - begun)) s"
}

# generate makes clips with known tempo, key, metre and instruments.
generate() {
    if ! command -v mma >/dev/null || ! command -v fluidsynth >/dev/null; then
        echo "missing: mma and fluidsynth. On Debian: apt-get install mma fluidsynth fluid-soundfont-gm timgm6mb-soundfont opl3-soundfont" >&2
        exit 1
    fi
    "$python" -m nano.generate "$dir/music/train" --split train --count "$clips" --seed 11
    "$python" -m nano.generate "$dir/music/test" --split test --count $((clips / 10 + 1)) --seed 11
}

# real lays out the tracks of Debian's music packages that are installed, each with its licence.
real() {
    mkdir -p "$dir/real/lark"
    cp ../models/demo/larksong.mp3 "$dir/real/lark/"
    echo Apache-2.0 >"$dir/real/lark/licence.txt"
    local package licence files
    while read -r package licence; do
        files=$(dpkg -L "$package" 2>/dev/null | grep -E '\.(ogg|mp3|flac)$' | awk -v most="${DEMO_TRACKS:-12}" 'NR <= most') || continue
        mkdir -p "$dir/real/$package"
        echo "$licence" >"$dir/real/$package/licence.txt"
        echo "$files" | xargs -d '\n' cp -t "$dir/real/$package"
        echo "$package: $(echo "$files" | wc -l) tracks"
    done <<'LIST'
planetblupi-music-ogg GPL-3.0-or-later
wesnoth-1.16-music GPL-2.0-or-later
singularity-music CC-BY-SA-3.0
LIST
}

import() {
    "$lark" dataset import synthetic --from "$dir/music/train" --out "$set_"
    "$lark" dataset import folder --from "$dir/real" --out "$set_"
}

export_() {
    "$lark" dataset split "$set_" --validation 0.1 --test 0
    "$lark" dataset export "$set_" --out "$dir/shards"
    "$lark" dataset report "$set_" --out "$dir/report.html"
    "$lark" dataset verify "$set_" --export "$dir/shards"
}

train() {
    [ -f "$dir/toy/config.json" ] || "$python" -m llark.toy --shards "$dir/shards" --out "$dir/toy"
    "$python" -u -m llark.train --shards "$dir/shards" --decoder "$dir/toy" --out "$dir/run" --train all --precision f32 --steps "$steps" \
        --batch 16 --micro 8 --lr 2e-3 --validate-every 50 --validate-batches 4 --samples 2 --save-every 50
}

bundle() {
    rm -rf "$dir/hf" "$dir/llark"
    "$python" -m llark.export --run "$dir/run" --decoder "$dir/toy" --to "$dir/hf" --dtype f32
    "$lark" model import llama --hf "$dir/hf" --encoder "$nano" --out "$dir/llark" --quant f32
}

evaluate() { # the constant answer stands beside each figure
    "$lark" eval import manifest --from "$dir/music/test" --out "$dir/eval"
    "$lark" eval --set "$dir/eval" --model "$dir/llark" --tasks key,tempo,metre,drums --no-cache --out "$dir/eval.json" --html "$dir/eval.html"
}

ask() {
    local song
    song=$(find "$dir/music/test" -name '*.wav' | sort | sed -n 1p)
    LARK_MODEL_DIR=$dir/llark "$lark" --data "$dir/data" ask "$song" "What is the tempo of this clip?" "In which key is this piece?"
}

begun=$SECONDS
mkdir -p "$dir"
step "generated music" generate
step "real tracks" real
step "import" import
step "annotate" "$lark" dataset annotate "$set_"
step "generate pairs by rules" "$lark" dataset generate "$set_" --rules
step "encode with lark-nano's encoder" "$lark" dataset encode "$set_" --model "$nano"
step "split, export, report, verify" export_
step "train a toy" train
step "import the model" bundle
step "evaluate" evaluate
step "ask" ask
echo "== all of it took $((SECONDS - begun)) s; look at $dir/report.html and $dir/eval.html"
