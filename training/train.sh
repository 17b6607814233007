#!/usr/bin/env bash
# Train lark-nano from nothing: ./train.sh [STEP...]. Without steps, all of them in order:
#   deps generate features encoder words decoder judge export golden eval
# Every step can be run again: finished clips and features are kept, and weights are written whole or not at all.
#
# LARK_TRAIN_DIR  where data and weights go (default training/build)
# Where it holds tunes.jsonl (peers/tunes.py) or data/real (peers/real_clips.py --labels), those are learnt from as well.
# TRAIN_CLIPS, TUNE_CLIPS, DEV_CLIPS, TEST_CLIPS, NOISE_CLIPS, ENCODER_MINUTES, WORDS_MINUTES, DECODER_MINUTES  sizes and times
# BUNDLE          where the bundle goes (default models/lark-nano)
set -euo pipefail
cd "$(dirname "$0")"

dir=${LARK_TRAIN_DIR:-$PWD/build}
bundle=${BUNDLE:-$PWD/../models/lark-nano}
python=$dir/venv/bin/python
export JAX_COMPILATION_CACHE_DIR=$dir/jax-cache
# XLA asks for large arrays anew in every step: kept by the C library, they need not be given by the system page by page each time (a third of the time).
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=268435456

deps() {
    ./instruments
    [ -x "$python" ] || python3 -m venv "$dir/venv"
    "$python" -m pip install --quiet -r requirements.txt
}

generate() {
    "$python" -m nano.generate "$dir/data/noise" --split noise --count "${NOISE_CLIPS:-220}" --seed 1
    "$python" -m nano.generate "$dir/data/dev" --split train --start 20000 --count "${DEV_CLIPS:-220}" --seed 9
    "$python" -m nano.generate "$dir/data/test" --split test --count "${TEST_CLIPS:-300}" --seed 1
    "$python" -m nano.generate "$dir/data/train" --split train --count "${TRAIN_CLIPS:-2000}" --seed 1
    [ ! -f "$dir/tunes.jsonl" ] || "$python" -m nano.generate "$dir/data/train" --split train --tunes "$dir/tunes.jsonl" --count "${TUNE_CLIPS:-1300}" --seed 4
}

features() {
    (cd ../engine && go build -o "$dir/features" ./encoder/features/cmd/features)
    local split
    for split in noise dev train real; do [ ! -d "$dir/data/$split" ] || "$dir/features" -remove -jobs 2 "$dir/data/$split"; done
    "$dir/features" -jobs 2 "$dir/data/test" # the audio stays: the evaluation hears it
}

encoder() {
    "$python" -u -m nano.train_encoder --data "$dir/data" --out "$dir/encoder.npz" --minutes "${ENCODER_MINUTES:-30}" --seed 1
}

words() { # questions and answers from invented notes, without audio
    "$python" -m nano.make_tokenizer "$bundle/tokenizer.json" testdata/tokenizer.json
    "$python" -u -m nano.train_decoder --data "$dir/data" --tokenizer "$bundle/tokenizer.json" \
        --out "$dir/words.npz" --minutes "${WORDS_MINUTES:-30}" --seed 3
}

decoder() {
    "$python" -u -m nano.train_decoder --data "$dir/data" --encoder "$dir/encoder.npz" --tokenizer "$bundle/tokenizer.json" \
        --resume "$dir/words.npz" --carry --out "$dir/decoder.npz" --minutes "${DECODER_MINUTES:-30}" --seed 2
}

judge() { # confidences and thresholds, on clips that no training saw
    "$python" -m nano.judge --data "$dir/data" --encoder "$dir/encoder.npz" --decoder "$dir/decoder.npz" \
        --tokenizer "$bundle/tokenizer.json" --out "$dir/judged.json"
}

export_() {
    local quality=()
    [ -f "$dir/quality.json" ] && quality=(--quality "$dir/quality.json")
    "$python" -m nano.export --encoder "$dir/encoder.npz" --decoder "$dir/decoder.npz" --data "$dir/data" --judged "$dir/judged.json" --bundle "$bundle" "${quality[@]}"
}

golden() { # the Go code must agree with what the trainer exported
    (cd ../engine && go test -count=1 -run WithTheTrainer ./encoder/nano ./decoder/reference)
}

eval_() { # through the Go path, free generation; the figures go into model.yaml, whose digest does not cover them
    (cd ../lark && go build -o "$dir/lark" ./cmd/lark)
    "$dir/lark" eval import manifest --from "$dir/data/test" --out "$dir/data/test"
    "$dir/lark" eval --json --model "$bundle" --set "$dir/data/test" --out "$dir/eval.json" --html "$dir/eval.html" >"$dir/quality.json"
    export_
    "$python" -m nano.report "$dir/quality.json"
}

for step in "${@:-all}"; do
    case $step in
        all) deps; generate; features; encoder; words; decoder; judge; export_; golden; eval_ ;;
        deps | generate | features | encoder | words | decoder | judge | golden) "$step" ;;
        export | eval) "${step}_" ;;
        *) echo "unknown step $step" >&2; exit 2 ;;
    esac
done
