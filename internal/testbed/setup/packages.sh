#!/usr/bin/env bash
# packages.sh [race|bench] - installs what tests and demo need on Debian 12 or 13
# beyond Go and git. Silent and quick when all of it is there. With "race", the C
# compiler too that Go's race detector needs; with "bench", the peers that ours is
# measured against, as Debian packages them.
set -euo pipefail

cd "$(dirname "$0")"
missing=()
need() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null || missing+=("$2")
}
need psql postgresql-client
need patchelf patchelf
need zstd zstd
need age age
need jq jq
need /usr/bin/aws awscli # one of another origin may come before it in PATH
need /usr/bin/rclone rclone # rescue.sh reads buckets with either
need ps procps
[ "${1:-}" != race ] || need gcc gcc libc6-dev
[ "${1:-}" != bench ] || need /usr/bin/restic restic
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)

if [ "${#missing[@]}" -gt 0 ]; then
	sudo=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || { echo "setup: as root: apt-get install ${missing[*]}" >&2; exit 1; }
		sudo=(sudo)
	fi
	command -v apt-get >/dev/null || { echo "setup: not Debian; install by hand: ${missing[*]}" >&2; exit 1; }
	echo "setup: installing ${missing[*]}" >&2
	# Tests start their own servers: Debian's own needn't exist for them.
	quiet=/etc/postgresql-common/createcluster.d/synapse-maint.conf
	if [[ " ${missing[*]} " == *" postgresql "* ]]; then
		"${sudo[@]}" mkdir -p "${quiet%/*}"
		echo 'create_main_cluster = false' | "${sudo[@]}" tee "$quiet" >/dev/null
		trap '"${sudo[@]}" rm -f "$quiet"' EXIT
	fi
	log=$(mktemp)
	if ! { "${sudo[@]}" apt-get update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } \
		</dev/null >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		exit 1
	fi
	rm -f "$log"
fi

# The versions that tests name, and those that POSTGRES_VERSIONS adds: one that
# this release doesn't have comes from the release that does.
for major in 15 17 ${POSTGRES_VERSIONS:-}; do
	[ -x "/usr/lib/postgresql/$major/bin/initdb" ] || bash ./postgres.sh "$major" >/dev/null
done
