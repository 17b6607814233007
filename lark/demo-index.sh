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
group= # the process group of the deployment, once one runs

# up starts everything and returns as soon as the gateway answers: after a kill the stages need some seconds more, for the broker must give up on the dead.
up() {
  setsid "$lark" up --data "$data" --addr 127.0.0.1:0 >>"$log" 2>&1 &
  group=$!
  until server=http://$(sed 's/.*"http_addr":"\([^"]*\)".*/\1/' "$data/run/gateway.json" 2>/dev/null) && "$lark" index list --server "$server" >/dev/null 2>&1; do
    kill -0 "$group" || { tail -20 "$log"; exit 1; }
    sleep 0.2
  done
}
killed() {
  echo "== kill -9 of every process, with $(ended) items ended"
  # Every child has a process group of its own, and says in the data folder which process it is.
  # shellcheck disable=SC2046 # one word for each process
  kill -9 -- "-$group" $(sed 's/^{"pid":\([0-9]*\),.*/\1/' "$data"/run/*.json)
  wait "$group" 2>/dev/null || true
}
# ended counts the items that have succeeded or failed.
ended() { "$lark" index status demo --server "$server" --json | sed 's/.*"succeeded":\([0-9]*\),"partial":[0-9]*,"failed":\([0-9]*\).*/\1+\2/' | tr -d '\n' | { read -r sum; echo $((sum)); }; }
# tidy stops everything and waits until nothing writes into the data folder any more.
tidy() {
  if [ -n "$group" ]; then
    kill -- "-$group" 2>/dev/null || true
    wait "$group" 2>/dev/null || true
  fi
  rm -rf "$data"
}
trap tidy EXIT
trap 'echo "$0: line $LINENO failed: $BASH_COMMAND" >&2' ERR

list="$out/tracks.csv"
echo "path" >"$list"
if [ $# -gt 1 ]; then
  find "$2" -type f \( -iname '*.ogg' -o -iname '*.mp3' -o -iname '*.flac' -o -iname '*.wav' -o -iname '*.m4a' \)
else
  # shellcheck disable=SC2086 # one word for each package
  dpkg -L ${PACKAGES:?names the packages that hold music} | grep -iE '\.(ogg|mp3|flac)$' |
    xargs -d "\n" -I{} find -L {} -size +"${LEAST:-300}"k # the rest are jingles
fi | sort -u | awk -v most="${TRACKS:-100000}" 'NR <= most' | sed 's/"/""/g; s/.*/"&"/' >>"$list" # awk reads to the end: head would end sort by SIGPIPE
tracks=$(($(wc -l <"$list") - 1))
[ "$tracks" -gt 0 ] || { echo "there is no music: name a folder, or install Debian's music packages"; exit 1; }
echo "== $tracks tracks"

up
"$lark" index run "$list" --tags --name demo --detach --server "$server" >/dev/null
until [ "$(ended)" -ge $((tracks / 3)) ]; do sleep 0.5; done
killed
up
# The second time while the encoder works on what the dead have left: a moment later all answers arrive at once.
until [ "$(grep -c 'msg=ready service=encoder-svc' "$log")" -ge 2 ]; do sleep 0.1; done
killed
up
rc=0
"$lark" index status demo --wait --server "$server" || rc=$?
"$lark" index export demo --format parquet --out "$out/tags" --server "$server"
"$lark" index verify demo --source "$list" --export "$out/tags" --server "$server"
"$lark" index report demo --out "$out/report.html" --server "$server"
[ "$rc" = 0 ] || [ "$rc" = 3 ]
