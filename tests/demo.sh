#!/bin/sh
# Trains a real model three times in a scratch repository with uncommitted changes, and looks at what was recorded.
# Usage: demo.sh CONFIGS   (experimenter and python on the PATH)
set -eu

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -R "$1" "$scratch/configs"
cd "$scratch"
export HOME="$scratch" GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=Demo GIT_AUTHOR_EMAIL=demo@example.com GIT_COMMITTER_NAME=Demo GIT_COMMITTER_EMAIL=demo@example.com
git -c init.defaultBranch=main init --quiet
git add configs
git commit --quiet --message "Settings of the demo"

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

echo "seed: 1" >>configs/iris-wide.yaml # not committed
echo "wider, with another seed" >notes.txt # not even added
step git status --short

train="python -m experimenter.examples.iris"
step experimenter run --name baseline --params configs/iris.yaml -- $train
step experimenter run --name slow --params configs/iris.yaml --params configs/iris-slow.yaml -- $train
step experimenter run --name wide --params configs/iris.yaml --params configs/iris-wide.yaml -- $train
if step experimenter run --name broken --params configs/iris.yaml -p lr=-1 -- $train; then
    echo "the broken run should have failed" >&2
    exit 1
fi
step experimenter sweep --params configs/iris.yaml --grid configs/iris-grid.yaml -j 2 --sort accuracy --reverse -- $train
step experimenter list
code=$(git for-each-ref --format='%(*objectname)' 'refs/tags/exp_wide_*')
step experimenter -c "$code"
step experimenter show wide
step git status --short

test "$(experimenter list --json | grep -c '"status": "completed"')" = 7
