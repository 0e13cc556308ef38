#!/usr/bin/env bash
# postgres.sh MAJOR - the programs of a PostgreSQL major version that this
# Debian release doesn't have. It prints the folder they are in.
#
# The packages of the release that has the version are downloaded by apt,
# which checks their signatures, from the mirror that this machine itself
# uses, and unpacked into a cache folder; nothing is installed. patchelf points
# the programs at the C library and the other libraries that came along, so
# that they run without a chroot. Made once, under a name made of what goes in;
# processes that run at the same time wait for the one that makes it.
set -euo pipefail
umask 022

major=${1:?usage: postgres.sh MAJOR}
fail() { echo "postgres.sh: $*" >&2; exit 1; }
case $major in
	15) release=bookworm ;;
	17) release=trixie ;;
	18) release=sid ;;
	*) fail "no Debian release is known to have PostgreSQL $major" ;;
esac
for program in apt-get dpkg dpkg-deb patchelf flock; do
	command -v "$program" >/dev/null || fail "$program is missing: run make setup"
done
[ -r /etc/os-release ] || fail "/etc/os-release is missing"
own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
arch=$(dpkg --print-architecture)

# The server doesn't run as root and can't reach root's home.
if [ "$(id -u)" = 0 ]; then cache=/var/cache/synapse-maint; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/synapse-maint; fi
recipe=2 # raise it when what this script makes changes
root=$cache/postgres$major-$release-$arch-$recipe
bin=$root/usr/lib/postgresql/$major/bin
if [ -x "$bin/postgres" ]; then echo "$bin"; exit; fi

mkdir -p "$cache"
exec 9>"$cache/postgres$major.lock"
flock 9
if [ -x "$bin/postgres" ]; then echo "$bin"; exit; fi

# The mirror of this release that apt uses, and so its proxy and its keys too.
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | awk -v r="$own" '$1 == r { print $2; exit }')
[ -n "$mirror" ] || fail "apt has no source for $own"

work=$(mktemp -d "$cache/making-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/apt/{none,lists,cache/archives/partial} "$work/root"
: >"$work/apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$work/apt/sources.list"
apt() {
	apt-get -qq -o Dir::State="$work/apt" -o Dir::State::Lists="$work/apt/lists" -o Dir::State::status="$work/apt/status" \
		-o Dir::Cache="$work/apt/cache" -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts="$work/apt/none" \
		-o Dir::Etc::Preferences="$work/apt/no-file" -o Dir::Etc::PreferencesParts="$work/apt/none" -o Acquire::Languages=none -o Acquire::Retries=3 \
		-o APT::Sandbox::User="$(id -un)" -o APT::Install-Recommends=false -o Debug::NoLocking=true "$@" >&2
}
apt update
# An empty status file: apt downloads everything, down to the C library.
apt install --download-only --yes "postgresql-$major"
for deb in "$work"/apt/cache/archives/*.deb; do
	case ${deb##*/} in
		libllvm* | libz3* | libperl* | libpython*) ;; # JIT and languages: a third of a gigabyte that no test needs
		postgresql-* | lib* | zlib*) dpkg-deb --extract "$deb" "$work/root" ;;
	esac
done
rm -rf "$work/root/usr/lib/postgresql/$major/lib/bitcode" "$work/root/usr/lib/postgresql/$major/lib"/llvmjit* "$work/root/usr/share"/{doc,man,locale}

loader=$(find "$work/root" -path "*/lib*/ld-linux*.so.*" \( -type f -o -type l \) | head -n 1)
[ -n "$loader" ] || fail "no program loader among the packages"
loader=$root${loader#"$work/root"}
libraries=$(find "$work/root" -name 'lib*.so*' -not -path "*/postgresql/$major/lib/*" -printf '%h\n' | sort -u | sed "s|^$work/root|$root|" | paste -sd:)
for program in "$work/root/usr/lib/postgresql/$major/bin"/*; do
	if [ -f "$program" ] && [ ! -L "$program" ] && patchelf --print-interpreter "$program" >/dev/null 2>&1; then
		patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$program"
	fi
done
rm -rf "$root"
mv "$work/root" "$root"
chmod 755 "$root"
"$bin/postgres" --version >&2 || { rm -rf "$root"; fail "the unpacked postgres doesn't run"; }
echo "$bin"
