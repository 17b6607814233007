#!/usr/bin/env bash
# Shows that the simulator bites: puts each defect of testdata/defects back, one by one, and looks for a seed that finds it. The line "Seed: N" at
# the head of a patch names it, or several; where none of them does, seeds 1 to LAST_SEED are tried. The files of the tree are not touched.
# Prints a row of docs/reliability.md for each defect. Usage: lab/sim/bites.sh [LAST_SEED] [DEFECT...]
set -euo pipefail
cd "$(dirname "$0")/../.."
last=${1:-200}
shift || true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
missed=0
[ $# -gt 0 ] || set -- $(ls lab/sim/testdata/defects/*.patch | xargs -n1 basename -s .patch)

# build builds the simulator with a patch: the compiler takes the patched copies in place of the files.
build() {
	local file replace=()
	rm -rf "$work/tree"
	for file in $(sed -n 's|^+++ b/||p' "$1"); do
		mkdir -p "$work/tree/$(dirname "$file")"
		cp "$file" "$work/tree/$file"
		replace+=("\"$PWD/$file\":\"$work/tree/$file\"")
	done
	patch -s -p1 -d "$work/tree" <"$1"
	(IFS=, && echo "{\"Replace\":{${replace[*]}}}") >"$work/overlay.json"
	go build -tags synctests -ldflags '-s -w' -overlay "$work/overlay.json" -o "$work/lark-sim" ./lark/cmd/lark
}

# try simulates seeds until one finds something, which it prints.
try() {
	"$work/lark-sim" sim --first "$@" >"$work/out" || true # it ends with 1 where it finds something
	grep -m1 '^seed ' "$work/out"
}

# named tries the seeds given.
named() {
	local seed
	for seed in "$@"; do
		try --seed "$seed" && return
	done
	return 1
}

for defect in "$@"; do
	patch=lab/sim/testdata/defects/$defect.patch
	build "$patch"
	seeds=$(sed -n 's/^Seed: //p' "$patch")
	if found=$(named $seeds) || found=$(try --seeds "1-$last"); then
		found=${found#seed }
		echo "| \`$defect\` | ${found%%: *} | ${found#*: } |"
	else
		echo "| \`$defect\` | not found in $last seeds | |"
		missed=1
	fi
done
exit $missed
