#!/usr/bin/env bash
# Indexes real tracks, kills everything in the middle, twice, goes on, reconciles, and writes tables and a report:
#   lark/demo-index.sh FOLDER_OF_RESULTS [FOLDER_OF_MUSIC]
# Without a folder of music it takes the music of the Debian packages of PACKAGES, which `make demo-index` installs. TRACKS bounds how many tracks are taken.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "$1" && cd "$1" && pwd)
lark="$PWD/bin/lark"
data=$(mktemp -d)
log="$out/lark-up.log"
: >"$log"

up() {
  setsid "$lark" up --data "$data" --addr 127.0.0.1:0 >>"$log" 2>&1 &
  group=$!
  until "$lark" index list --data "$data" >/dev/null 2>&1; do
    kill -0 "$group" || { tail -20 "$log"; exit 1; }
    sleep 0.2
  done
}
killed() {
  echo "== kill -9 of every process, with $(ended) items ended"
  kill -9 -- "-$group"
  wait "$group" 2>/dev/null || true
  while "$lark" index list --data "$data" >/dev/null 2>&1; do sleep 0.1; done # the children end with their parent, a moment later
}
# ended counts the items that have succeeded or failed.
ended() { "$lark" index status demo --data "$data" --json | sed 's/.*"succeeded":\([0-9]*\),"partial":[0-9]*,"failed":\([0-9]*\).*/\1+\2/' | tr -d '\n' | { read -r sum; echo $((sum)); }; }
# tidy stops everything and waits until nothing writes into the data folder any more.
tidy() {
  kill -- "-$group" 2>/dev/null || true
  wait "$group" 2>/dev/null || true
  rm -rf "$data"
}
trap tidy EXIT

list="$out/tracks.csv"
echo "path" >"$list"
if [ $# -gt 1 ]; then
  find "$2" -type f \( -iname '*.ogg' -o -iname '*.mp3' -o -iname '*.flac' -o -iname '*.wav' -o -iname '*.m4a' \)
else
  # shellcheck disable=SC2086 # one word for each package
  dpkg -L ${PACKAGES:?names the packages that hold music} | grep -iE '\.(ogg|mp3|flac)$' |
    xargs -d "\n" -I{} find -L {} -size +"${LEAST:-300}"k # the rest are jingles
fi | sort -u | head -n "${TRACKS:-100000}" | sed 's/"/""/g; s/.*/"&"/' >>"$list"
tracks=$(($(wc -l <"$list") - 1))
[ "$tracks" -gt 0 ] || { echo "there is no music: name a folder, or install Debian's music packages"; exit 1; }
echo "== $tracks tracks"

up
"$lark" index run "$list" --tags --name demo --detach --data "$data" >/dev/null
for part in 3 2; do
  until [ "$(ended)" -ge $((tracks / part)) ]; do sleep 0.5; done
  killed
  up
done
rc=0
"$lark" index status demo --wait --data "$data" || rc=$?
"$lark" index export demo --format parquet --out "$out/tags" --data "$data"
"$lark" index verify demo --source "$list" --export "$out/tags" --data "$data"
"$lark" index report demo --out "$out/report.html" --data "$data"
[ "$rc" = 0 ] || [ "$rc" = 3 ]
