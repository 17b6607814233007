#!/usr/bin/env bash
# The ablations of LLark's paper in small: toys that differ in one thing each from the one of demo-llark.sh, trained on its set with equal steps, evaluated on the same
# clips, and laid beside each other in one report. ./ablate-llark.sh, or make ablate-llark. What is done is not done again.
#
# It ablates the data (50, 10 and 1 % of the clips), the decoder's size, and the encoder: lark-nano's, which is trained, beside random weights of Whisper's and of
# Jukebox's shape, which stand for encoders that know nothing of music.
#
# DEMO_DIR    the folder of demo-llark.sh, which has made the set (default training/build/demo-llark)
# DEMO_STEPS  training steps of each toy (default 150)
# DEMO_BATCH  pairs of a step (default 8)
# ABLATE      names of what is trained (default all of them)
# PYTHON      a Python with PyTorch (default training/build/torch/bin/python, made by peers/venv)
set -euo pipefail
shopt -s inherit_errexit # what fails within $(...) ends the script
cd "$(dirname "$0")"

dir=$(realpath -m "${DEMO_DIR:-build/demo-llark}")
steps=${DEMO_STEPS:-150}
batch=${DEMO_BATCH:-8}
python=${PYTHON:-$PWD/build/torch/bin/python}
lark=${LARK:-$PWD/../bin/lark}
out=$dir/ablations
export LARK_NATIVE_DIR=${LARK_NATIVE_DIR:-$PWD/../bin/native/cpu}
export OMP_WAIT_POLICY=passive # threads that wait sleep, and others get the processor

# name encoder fraction layers hidden heads
variants() {
    cat <<'LIST'
all nano 1 4 192 6
data-50 nano 0.5 4 192 6
data-10 nano 0.1 4 192 6
data-1 nano 0.01 4 192 6
decoder-small nano 1 2 96 3
decoder-large nano 1 6 288 8
encoder-whisper whisper 1 4 192 6
encoder-jukebox jukebox 1 4 192 6
LIST
}

# encoder NAME prints the folder of the bundle with the encoder, made if need be.
encoder() {
    local bundle=$out/random-$1
    case $1 in
    nano) bundle=$PWD/../models/lark-nano ;;
    whisper) [ -f "$bundle/model.yaml" ] || "$lark" model random audio-llm --preset tiny --family music-flamingo --out "$bundle" >&2 ;;
    jukebox) [ -f "$bundle/model.yaml" ] || "$lark" model random jukebox --preset tiny --out "$bundle" >&2 ;;
    esac
    echo "$bundle"
}

# shards ENCODER prints the folder of the shards with that encoder's frames, made if need be: annotations, pairs and split are those of the demonstration.
shards() {
    local shards=$out/shards-$1 copy=$dir/set-$1 # beside the set: its audio is named from there
    if [ "$1" = nano ]; then
        echo "$dir/shards"
        return
    fi
    if [ ! -f "$out/$1.done" ]; then
        rm -rf "$copy" "$shards"
        cp -r "$dir/set" "$copy"
        {
            "$lark" dataset encode "$copy" --model "$(encoder "$1")" --anew
            "$lark" dataset export "$copy" --out "$shards"
            "$lark" dataset verify "$copy" --export "$shards"
        } >&2
        touch "$out/$1.done"
    fi
    echo "$shards"
}

# variant NAME ENCODER FRACTION LAYERS HIDDEN HEADS trains a toy, imports and evaluates it.
variant() {
    local name=$1 bundle data toy=$out/toy-$4-$5 run=$out/$1
    [ ! -f "$run/report.json" ] || return 0
    echo "== $name: encoder $2, ${3} of the clips, $4 layers of width $5"
    local TIMEFORMAT="== $name took %0R s, %0U s user and %0S s system on the processor"
    time {
        bundle=$(encoder "$2")
        data=$(shards "$2")
        [ -f "$toy/config.json" ] || "$python" -m llark.toy --shards "$dir/shards" --out "$toy" --layers "$4" --hidden "$5" --heads "$6"
        "$python" -u -m llark.train --shards "$data" --decoder "$toy" --out "$run/run" --train all --precision f32 --steps "$steps" --batch "$batch" \
            --micro $((batch < 8 ? batch : 8)) --lr 2e-3 --fraction "$3" --validate-every "$steps" --validate-batches 8 --samples 1 --save-every "$steps"
        rm -rf "$run/hf" "$run/bundle"
        "$python" -m llark.export --run "$run/run" --decoder "$toy" --to "$run/hf" --dtype f32
        "$lark" model import llama --hf "$run/hf" --encoder "$bundle" --out "$run/bundle" --quant f32
        "$lark" eval --set "$dir/eval/set" --model "$run/bundle" --tasks key,tempo,metre,drums --no-cache --out "$run/report.json"
    }
}

[ -f "$dir/eval/set/set.jsonl" ] || { echo "ablate-llark: $dir has no set of the demonstration: run make demo-llark first" >&2 && exit 1; }
mkdir -p "$out"
reports=()
while read -r name rest; do
    [[ " ${ABLATE:-$name} " == *" $name "* ]] || continue
    # shellcheck disable=SC2086 # the rest are words
    variant "$name" $rest </dev/null
    reports+=("$name=$out/$name/report.json")
done < <(variants)
[ "${#reports[@]}" -lt 2 ] || "$lark" eval compare "${reports[@]}" --out "$out/ablations.json" --html "$out/ablations.html"
for report in "${reports[@]}"; do
    name=${report%%=*}
    "$python" -c 'import json, sys; print(sys.argv[1] + ": loss of held-out answers", [round(r["validation"], 3) for r in map(json.loads, open(sys.argv[2])) if "validation" in r][-1])' \
        "$name" "$out/$name/run/metrics.jsonl"
done
echo "look at $out/ablations.html"
