#!/usr/bin/env bash
# Shows that the simulator bites: puts each defect of testdata/defects back into a copy of the tree, and looks for the first seed that finds
# it. Prints a row of docs/reliability.md for each defect. Usage: lab/sim/bites.sh [LAST_SEED] [DEFECT...]
set -euo pipefail
cd "$(dirname "$0")/../.."
last=${1:-200}
shift || true
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
missed=0
[ $# -gt 0 ] || set -- $(ls lab/sim/testdata/defects/*.patch | xargs -n1 basename -s .patch)
for defect in "$@"; do
	rm -rf "$copy/tree" && mkdir "$copy/tree"
	git ls-files -z -- . ':!models' ':!training' | xargs -0 cp --parents -t "$copy/tree"
	patch -s -p1 -d "$copy/tree" <"lab/sim/testdata/defects/$defect.patch"
	(cd "$copy/tree" && go build -tags synctests -o "$copy/lark-sim" ./lark/cmd/lark)
	"$copy/lark-sim" sim --seeds "1-$last" --first >"$copy/out" || true # it ends with 1 where it finds something
	if found=$(grep -m1 '^seed ' "$copy/out"); then
		echo "| $defect | ${found%%: *} | ${found#*: } |"
	else
		echo "| $defect | not found in $last seeds | |"
		missed=1
	fi
done
exit $missed
