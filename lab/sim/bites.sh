#!/usr/bin/env bash
# Shows that the simulator bites: puts each defect of testdata/defects back, one by one, and looks for a seed that finds it. The line "Seed: N" at
# the head of a patch names one or more; where none of them finds it, seeds 1 to LAST_SEED are tried. The files of the tree are not touched.
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
	go build -tags synctests -ldflags '-s -w' -overlay "$work/overlay.json" -o "$work/bite" ./lab/sim/cmd/bite
}

for defect in "$@"; do
	patch=lab/sim/testdata/defects/$defect.patch
	build "$patch"
	if found=$("$work/bite" $(sed -n 's/^Seed: //p' "$patch") "1-$last"); then
		echo "| \`$defect\` $found"
	else
		echo "| \`$defect\` | not found in $last seeds | |"
		missed=1
	fi
done
exit $missed
