#!/usr/bin/env bash
# The whole way to a LLark in small: generated music and real tracks become pairs, a toy decoder is trained from nothing, evaluated beside the constant answer,
# imported and asked. ./demo-llark.sh, or make demo-llark. What is done is not done again; delete the folder to begin anew.
#
# DEMO_DIR    where everything goes (default training/build/demo-llark)
# DEMO_CLIPS  generated training clips (default 240); a tenth as many are generated for the test
# DEMO_MUSIC  songs: pieces through soundfonts; toy: 20 clips of plain tones, for which nothing is installed (default songs)
# DEMO_TRACKS real tracks of each package (default 6)
# DEMO_STEPS  training steps (default 400)
# DEMO_BATCH  pairs of a step (default 16)
# PYTHON      a Python with PyTorch (default training/build/torch/bin/python, made by peers/venv)
set -euo pipefail
cd "$(dirname "$0")"

dir=$(realpath -m "${DEMO_DIR:-build/demo-llark}")
clips=${DEMO_CLIPS:-240}
steps=${DEMO_STEPS:-400}
batch=${DEMO_BATCH:-16}
python=${PYTHON:-$PWD/build/torch/bin/python}
lark=${LARK:-$PWD/../bin/lark}
nano=$PWD/../models/lark-nano
set_=$dir/set
export LARK_NATIVE_DIR=${LARK_NATIVE_DIR:-$PWD/../bin/native/cpu}
up= # the process of lark up, while it runs
trap '[ -z "$up" ] || { kill "$up" && wait "$up"; } 2>/dev/null || true' EXIT

# step NUMBER NAME MADE COMMAND... says what is done, does it, and tells how long it took, on the clock and on the processor, and how much it has made.
step() {
    local number=$1 name=$2 made=$3
    shift 3
    echo "== $number of 11: $name"
    local TIMEFORMAT="== $name took %0R s, %0U s user and %0S s system on the processor"
    time "$@"
    echo "== it made ${made#"$dir"/}: $(find "$made" -type f | wc -l) files, $(du -sh "$made" | cut -f1)"
}

# music makes clips with known tempo, key, metre and instruments; two processes share the work.
music() {
    if [ "${DEMO_MUSIC:-songs}" = toy ]; then
        [ -f "$dir/music/test/manifest.jsonl" ] || "$python" -m nano.toy "$dir/music"
        return
    fi
    ./instruments
    local half=$((clips / 2)) make=("$python" -m nano.generate "$dir/music/train" --split train --seed 11) first
    "${make[@]}" --count "$half" &
    first=$!
    "${make[@]}" --start "$half" --count $((clips - half))
    wait "$first"
    "${make[@]}" --count "$clips" # the list of all
    "$python" -m nano.generate "$dir/music/test" --split test --count $((clips / 10 + 1)) --seed 11
}

# real lays out the bundled piece, and tracks of those of Debian's music packages that are installed, each with its licence.
real() {
    mkdir -p "$dir/real/lark"
    cp ../models/demo/larksong.mp3 "$dir/real/lark/"
    echo Apache-2.0 >"$dir/real/lark/licence.txt"
    if [ "${DEMO_MUSIC:-songs}" = songs ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends planetblupi-music-ogg singularity-music >/dev/null
    fi
    local package licence files
    while read -r package licence; do
        files=$(dpkg -L "$package" 2>/dev/null | grep -E '\.(ogg|mp3|flac)$' | awk -v most="${DEMO_TRACKS:-6}" 'NR <= most') || continue
        mkdir -p "$dir/real/$package"
        echo "$licence" >"$dir/real/$package/licence.txt"
        echo "$files" | xargs -d '\n' cp -t "$dir/real/$package"
        echo "$package: $(echo "$files" | wc -l) tracks"
    done <<'LIST'
planetblupi-music-ogg GPL-3.0-or-later
wesnoth-1.16-music GPL-2.0-or-later
singularity-music CC-BY-SA-3.0
drascula-music Drascula-License
LIST
}

import() {
    "$lark" dataset import synthetic --from "$dir/music/train" --out "$set_"
    "$lark" dataset import folder --from "$dir/real" --out "$set_"
}

export_() {
    "$lark" dataset split "$set_" --validation 0.3 --test 0
    "$lark" dataset export "$set_" --out "$dir/shards"
    "$lark" dataset report "$set_" --out "$dir/report.html"
    "$lark" dataset verify "$set_" --export "$dir/shards"
}

train() {
    [ -f "$dir/toy/config.json" ] || "$python" -m llark.toy --shards "$dir/shards" --out "$dir/toy"
    local every=$(((steps + 3) / 4))
    # Threads that wait sleep: where others need the processor, those that spin take most of it.
    OMP_WAIT_POLICY=passive "$python" -u -m llark.train --shards "$dir/shards" --decoder "$dir/toy" --out "$dir/run" --train all --precision f32 --steps "$steps" \
        --batch "$batch" --micro $((batch < 8 ? batch : 8)) --lr 2e-3 --validate-every "$every" --validate-batches 4 --samples 2 --save-every "$every"
}

bundle() {
    rm -rf "$dir/hf" "$dir/llark"
    "$python" -m llark.export --run "$dir/run" --decoder "$dir/toy" --to "$dir/hf" --dtype f32
    "$lark" model import llama --hf "$dir/hf" --encoder "$nano" --out "$dir/llark" --quant f32
}

evaluate() { # the constant answer stands beside each figure
    "$lark" eval import manifest --from "$dir/music/test" --out "$dir/eval/set"
    "$lark" eval --set "$dir/eval/set" --model "$dir/llark" --tasks key,tempo,metre,drums --no-cache --out "$dir/eval/report.json" --html "$dir/eval/report.html"
}

ask() {
    local song
    song=$(find "$dir/music/test" -name '*.wav' | sort | sed -n 1p)
    mkdir -p "$dir/data"
    LARK_MODEL_DIR=$dir/llark "$lark" up --data "$dir/data" --addr 127.0.0.1:0 >"$dir/data/up.log" 2>&1 &
    up=$!
    until grep -q '^ready:' "$dir/data/up.log"; do
        kill -0 "$up" 2>/dev/null || { cat "$dir/data/up.log" >&2 && exit 1; }
        sleep 0.2
    done
    "$lark" --data "$dir/data" ask "$song" "What is the tempo of this clip?" "In which key is this piece?"
    kill "$up"
    wait "$up"
    up=
}

begun=$SECONDS
mkdir -p "$dir"
step 1 "generated music" "$dir/music" music
step 2 "real tracks" "$dir/real" real
step 3 "import" "$set_" import
step 4 "annotate" "$set_" "$lark" dataset annotate "$set_"
step 5 "pairs by rules" "$set_" "$lark" dataset generate "$set_" --rules
step 6 "frames of lark-nano's encoder" "$set_" "$lark" dataset encode "$set_" --model "$nano"
step 7 "split, export, report, verify" "$dir/shards" export_
step 8 "training a toy from nothing" "$dir/run" train
step 9 "import of the model" "$dir/llark" bundle
step 10 "evaluation beside the constant answer" "$dir/eval" evaluate
step 11 "lark up and ask" "$dir/data" ask
echo "== all of it took $((SECONDS - begun)) s; look at $dir/report.html and $dir/eval/report.html"
echo "== processor time, user and system: of this script, and of all that it has started"
times
