#!/usr/bin/env bash
# A toy of lark-nano is trained from nothing in minutes: its losses must fall, and Go must load it, agree with its golden cases and answer with it.
#   training/smoke.sh PYTHON
set -euo pipefail
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") # not realpath: a virtual environment is known by its link
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
data=$dir/data bundle=$dir/bundle
mkdir -p "$bundle"

"$python" -m nano.toy "$data"
(cd ../engine && go build -o "$dir/features" ./encoder/features/cmd/features)
for split in train dev test noise; do "$dir/features" -jobs 2 "$data/$split"; done
"$python" -m nano.make_tokenizer "$bundle/tokenizer.json" "$dir/cases.json"
"$python" -u -m nano.train_encoder --data "$data" --out "$dir/encoder.npz" --steps 12 --must-fall
"$python" -u -m nano.train_decoder --data "$data" --encoder "$dir/encoder.npz" --tokenizer "$bundle/tokenizer.json" --out "$dir/decoder.npz" --batch 4 --steps 12 --must-fall
"$python" -m nano.judge --data "$data" --encoder "$dir/encoder.npz" --decoder "$dir/decoder.npz" --tokenizer "$bundle/tokenizer.json" --out "$dir/judged.json"
"$python" -m nano.export --encoder "$dir/encoder.npz" --decoder "$dir/decoder.npz" --data "$data" --judged "$dir/judged.json" --bundle "$bundle"
(cd ../engine && LARK_NANO_BUNDLE=$bundle go test -count=1 -run 'WithTheTrainer' ./encoder/nano ./decoder/reference)
echo "the toy's losses fall, and it loads and answers in Go"
