#!/usr/bin/env bash
# Archive this project's dependencies, then install and run it with the network off.
#
# Usage: offline.sh BIN, where BIN is the directory that has uv-archive and uv. `make example`
# calls it so.
set -euo pipefail
exec 2>&1 # one story, in order, also in a file
bin=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH="$bin:$PATH"
unset VIRTUAL_ENV
archive=dist/dependencies

say() { printf '\n== %s\n' "$*"; }
show() {
    printf '$ %s\n' "$*"
    "$@"
}

# A network namespace without interfaces: whatever tries to connect fails at once.
if unshare -rn true 2>/dev/null; then
    offline=(unshare -rn)
else
    offline=()
fi

say "1. Lock the project (network on)"
if [[ -e uv.lock ]]; then
    echo "uv.lock is already here"
else
    show uv lock --quiet
    echo "uv.lock written: $(grep -c '^\[\[package\]\]' uv.lock) packages"
fi

say "2. Copy what the lock names into one directory (network on)"
show uv-archive download --out-dir "$archive"

say "3. Install from that directory alone (network off)"
rm -rf .venv plot.png
if ((${#offline[@]})); then
    echo "Everything from here on runs in a network namespace without interfaces."
else
    echo "This system allows no network namespace (\`unshare -rn\`), so the next steps run without"
    echo "the proof that nothing was fetched."
fi
show "${offline[@]}" uv-archive sync --dist-archive "$archive"

say "4. Ask uv itself whether anything is left to do"
show "${offline[@]}" uv sync --locked --offline --dry-run

say "5. Run the workflow"
show "${offline[@]}" .venv/bin/workflow --output plot.png
[[ -s plot.png ]]
printf '\nThe plot is in %s\n' "$PWD/plot.png"
