#!/usr/bin/env bash
# golangci-lint.sh VERSION - builds golangci-lint into the user's cache, once
# for each version and Go release, and prints its path. The build takes minutes.
set -euo pipefail

version=${1:?usage: golangci-lint.sh VERSION}
dir=${XDG_CACHE_HOME:-$HOME/.cache}/synapse-maint/golangci-lint-$version-$(go env GOVERSION)
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
if [ ! -x "$dir/golangci-lint" ]; then
	echo "building golangci-lint $version, once" >&2
	cd "$dir" # outside of any module
	GOBIN=$dir GOFLAGS=-buildvcs=false go install -trimpath -ldflags '-s -w' \
		"github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version" >&2
fi
echo "$dir/golangci-lint"
