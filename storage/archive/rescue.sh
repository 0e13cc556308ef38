#!/usr/bin/env bash
# Restores recovery points of a synapse-maint archive without synapse-maint.
#
#   rescue.sh help                           this page
#   rescue.sh [options] list                 the recovery points, oldest first
#   rescue.sh [options] restore POINT DIR    writes its database into the new folder DIR
#   rescue.sh [options] media POINT DIR      writes its media into the new folder DIR
#   rescue.sh [options] secrets POINT DIR    writes its secrets into the new folder DIR
#
#   -f, --from SOURCE     where the archive is, the place that has archive.json:
#                           a folder           (default: where this script is)
#                           s3://BUCKET/PATH   read with aws; keys and region as
#                                              aws knows them (AWS_*)
#                           rclone:REMOTE:PATH read with rclone
#   -e, --endpoint URL    of an S3 server other than AWS's (default:
#                         AWS_ENDPOINT_URL_S3, else AWS_ENDPOINT_URL)
#   -i, --identity FILE   age identity, if the archive is encrypted
#       --skip-damaged    go on after damage; damaged rows and files are left out
#
# POINT is an ID that list prints, or "latest". DIR is then a directory archive
# of pg_dump: pg_restore -j 4 -d DATABASE DIR. If pg_dump could not be taken
# apart it has one file, dump.custom: pg_restore -d DATABASE DIR/dump.custom.
# Media are a media_store as Synapse has it; run as root, they get their owners.
# Secrets (signing key, homeserver.yaml, what it names) are below DIR at the paths
# that they had, for their owner only; which was whose is printed.
#
# Needs bash, coreutils, jq, zstd; age if encrypted; aws or rclone for a bucket.
# Ends with 0 only if all of the point is in DIR. The format is described in
# FORMAT.md of synapse-maint, storage/archive.
set -euo pipefail
export LC_ALL=C
umask 077 # what it writes was perhaps encrypted

die() { echo "rescue.sh: $*" >&2; exit 1; }
help() { while IFS= read -r l && [[ $l == '#'* ]]; do [[ $l == '#!'* ]] || echo "${l#\#}"; done <"$0"; }
usage() { help >&2; exit 2; }

from=$(dirname -- "$0") identity='' skip='' damaged=0 made=''
endpoint=${AWS_ENDPOINT_URL_S3:-${AWS_ENDPOINT_URL:-}}
while [ $# -gt 0 ]; do
    case $1 in -[fei] | --from | --endpoint | --identity) [ -n "${2-}" ] || die "$1 needs a value (see help)" ;; esac
    case $1 in
    -f | --from) from=$2 && shift 2 ;;
    -e | --endpoint) endpoint=$2 && shift 2 ;;
    -i | --identity) identity=$2 && shift 2 ;;
    --skip-damaged) skip=1 && shift ;;
    -*) usage ;;
    *) break ;;
    esac
done
from=${from%/}
case ${1-} in
help) help; exit ;;
list) [ $# = 1 ] || usage ;;
restore | media | secrets) [ $# = 3 ] || usage ;;
*) usage ;;
esac

# needs PROGRAM… ends where one is not installed.
needs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || die "$program is not installed, and it can't be done without: install it"
    done
}
needs jq zstd sha256sum
case $from in s3://*) needs aws ;; rclone:*) needs rclone ;; esac

# damage says what is damaged, and ends unless told to go on.
damage() {
    damaged=$((damaged + 1))
    echo "rescue.sh: damaged: $*" >&2
    [ "$skip" ] || die "stopped at the first damage; --skip-damaged goes on without it"
}

# --- the store -------------------------------------------------------------

# s3 is aws s3 at the endpoint. aws before 2.13, which Debian 12 has, does not look
# for one in the environment.
s3() { aws ${endpoint:+--endpoint-url "$endpoint"} s3 "$@"; }

# get KEY FILE copies an object.
get() {
    case $from in
    s3://*) s3 cp --only-show-errors "$from/$1" "$2" ;;
    rclone:*) rclone copyto "${from#rclone:}/$1" "$2" ;;
    *) cp -- "$from/$1" "$2" ;;
    esac
}

# get_all FOLDER DIR copies the objects of a folder at once: starting aws for each
# of some hundreds takes a second each.
get_all() {
    mkdir -p -- "$2"
    case $from in
    s3://*) s3 cp --only-show-errors --recursive "$from/$1/" "$2" >&2 ;;
    rclone:*) rclone copy "${from#rclone:}/$1" "$2" ;;
    *) if [ -d "$from/$1" ]; then cp -- "$from/$1"/* "$2"; fi ;;
    esac
}

# ours says whether a name is that of a point or index object.
ours() { [[ $1 =~ ^[0-9]{8}T[0-9]{6}Z-[0-9a-f]+$ ]]; }

# names FOLDER prints the names of the points in a folder, in order.
names() {
    case $from in
    s3://*) { s3 ls "$from/$1/" || true; } | while read -r _ _ _ name; do echo "$name"; done ;;
    rclone:*) rclone lsf --files-only "${from#rclone:}/$1" || true ;;
    *) if [ -d "$from/$1" ]; then ls -- "$from/$1"; fi ;;
    esac | sort | while read -r name; do if ours "$name"; then echo "$name"; fi; done
}

sum() { sha256sum <"$1" | head -c 64; }

# sealed KEY FILE copies an object whose name ends in (the beginning of) the
# SHA-256 of its bytes, and compares.
sealed() {
    get "$1" "$2" || { damage "$1: it can't be read" && return 1; }
    right "$1" "$2"
}

# right KEY FILE compares a file with the name of the object it is.
right() { same "$1" "$2" || { damage "$1: its bytes are not those its name says" && return 1; }; }

# same is right without a word.
same() { [[ -e $2 && $(sum "$2") == "${1##*[-/]}"* ]]; }

# unseal prints the plain bytes of what it reads. What its programs say of a
# failure is for why.
unseal() { if [ "$encrypted" ]; then age -d -i "$identity" | zstd -dqc; else zstd -dqc; fi 2>"$tmp/why"; }

# why prints ": " and the first line of what a failed unseal said.
why() {
    local line=''
    IFS= read -r line <"$tmp/why" || true
    [ -z "$line" ] || printf ': %s' "$line"
}

# --- the archive -----------------------------------------------------------

tmp=$(mktemp -d "${TMPDIR:-/tmp}/rescue.XXXXXX")
trap 'rm -rf -- "$tmp"' EXIT

# config checks archive.json (or its copy): its checksum is that of the object
# with the checksum's own digits replaced by zeros.
config() {
    local key text have zeros
    zeros=$(printf '0%.0s' {1..64})
    for key in archive.json archive.copy.json; do
        get "$key" "$tmp/config" || continue
        have=$(jq -r .sha256 "$tmp/config") || continue
        text=$(cat "$tmp/config" && echo .) # the dot keeps the last newline
        text=${text%.}
        [ "$have" = "$(printf %s "${text/"$have"/"$zeros"}" | sha256sum | head -c 64)" ] && return
        echo "rescue.sh: damaged: $key" >&2
    done
    die "no archive.json in $from that can be read; give its place with --from"
}

config
[ "$(jq .format "$tmp/config")" = 1 ] || die "the archive's format is $(jq .format "$tmp/config"), this script knows 1"
encrypted=$(jq -r 'if .encryption then "yes" else "" end' "$tmp/config")
if [ "$encrypted" ] && [ -z "$identity" ]; then
    who=$(jq -r '.encryption.recipients | join(", ")' "$tmp/config")
    [ "${1-}" = list ] || die "the archive is encrypted to $who: give one's identity with -i FILE"
    echo "rescue.sh: encrypted to $who: names only without -i FILE" >&2
fi
[ -z "$encrypted" ] || [ -z "$identity" ] || needs age

# opened POINT writes the manifest of a point that was fetched. Its checksum is
# right: if it can't be opened it is the key's fault.
opened() {
    local who
    unseal <"$tmp/point" >"$tmp/manifest" && return
    who=$(jq -r '.encryption.recipients // [] | join(", ")' "$tmp/config")
    die "points/$1 can't be opened with $identity: it is encrypted to $who$(why)"
}

list() {
    local id
    while read -r id; do
        if [ "$encrypted" ] && [ -z "$identity" ]; then
            echo "$id"
        elif sealed "points/$id" "$tmp/point" && opened "$id"; then
            jq -r --arg id "$id" '[$id, .taken, "\(.database.tables // [] | length) tables", "\(.sizes.logical) bytes"] | join("  ")' "$tmp/manifest"
        fi
    done < <(names points)
}

# wanted FILTER prints for each blob of the point: ID, size, file, offset in the
# file, and which of the file's row groups it belongs to (a row may span blobs).
wanted() {
    jq -r 'def blobs($file): foreach .[] as $b (
            {start: 0, end: 0, group: 0, open: true};
            {start: .end, end: (.end + $b.size), group: (if .open then .group else .group + 1 end), open: ($b.open // false)};
            [$b.id, $b.size, $file, .start, .group]);
        ('"$1"') | join(" ")' "$tmp/manifest"
}

# places writes for each blob of the archive: ID, pack, offset, stored length, in
# the order of IDs. Each index object is there twice. What a copy says of which the
# first is gone comes last: a prune that was killed may have left it.
places() {
    local name part='' file
    get_all index "$tmp/index" || part=1
    : >"$tmp/places" && : >"$tmp/spare"
    while read -r name; do
        ours "$name" || continue
        file=$tmp/places
        [ -e "$tmp/index/$name" ] || file=$tmp/spare
        whole_index "$name" || { damage "index/$name: neither its bytes nor those of its copy are what its name says" && continue; }
        unseal <"$tmp/index/$name" >"$tmp/plain" || { damage "index/$name$(why)" && continue; }
        tail -n +2 "$tmp/plain" | jq -r '.pack as $p | .blobs[] | [.id, $p, .offset, .stored] | join(" ")' >>"$file"
        part=''
    done < <({ ls -- "$tmp/index" && names index.copy && [ -z "$part" ] || names index; } | sort -u)
    [ -z "$part" ] || damage "index: it can't be read"
    sort -k1,1 "$tmp/places" >"$tmp/first"
    { cat -- "$tmp/first" && sort -k1,1 "$tmp/spare" | join -v 1 - "$tmp/first"; } | sort -k1,1 >"$tmp/p"
}

# whole_index NAME puts the copy of an index object in its place if that is not
# what its name says.
whole_index() {
    same "index/$1" "$tmp/index/$1" && return
    get "index.copy/$1" "$tmp/copy" 2>/dev/null && same "index/$1" "$tmp/copy" || return 1
    mv -f -- "$tmp/copy" "$tmp/index/$1"
    echo "rescue.sh: index/$1 is damaged or missing, its copy index.copy/$1 is read in its place" >&2
}

# cut_out AT STORED prints a blob of the pack. It counts its processes: there can
# be many thousand blobs.
cut_out() {
    if [ "$encrypted" ]; then
        dd if="$tmp/pack" iflag=skip_bytes,count_bytes skip="$1" count="$2" bs=1M status=none | age -d -i "$identity" | zstd -dqc
    else
        dd if="$tmp/pack" iflag=skip_bytes,count_bytes skip="$1" count="$2" bs=1M status=none | zstd -dqc
    fi 2>"$tmp/why"
}

# blob AT STORED SIZE ID cuts a blob out of the pack into $tmp/blob.
blob() {
    cut_out "$1" "$2" >"$tmp/blob" || return 1
    [ "$(stat -c %s "$tmp/blob")" = "$3" ] || return 1
    # In an encrypted archive IDs are keyed hashes; age has checked the bytes.
    [ "$encrypted" ] || [ "$(sum "$tmp/blob")" = "$4" ]
}

# fetch reads each pack once, and writes its blobs where they belong. Those of
# size "-" are a file each, which the caller checks.
fetch() {
    local dir=$1 id size file start group pack at stored have='' last=''
    while read -r id size file start group pack at stored; do
        [ -z "${got["$file $start"]-}" ] || continue # it was in an earlier pack
        if [ "$have" != "$pack" ]; then
            have=$pack last=''
            rm -f -- "$tmp/pack"
            # Of a damaged pack the blobs that are whole can still be used.
            sealed "packs/${pack:0:2}/$pack" "$tmp/pack" || [ -e "$tmp/pack" ] || : >"$tmp/pack"
        fi
        if [ "$size" = - ]; then
            cut_out "$at" "$stored" >"$dir/$file" || { rm -f -- "$dir/$file" && damage "blob $id of file $file in packs/${pack:0:2}/$pack$(why)" && continue; }
            got["$file $start"]=1
            continue
        fi
        if [ "$last" != "$id" ]; then
            last=''
            blob "$at" "$stored" "$size" "$id" || { damage "blob $id of $file in packs/${pack:0:2}/$pack$(why)" && continue; }
            last=$id
        fi
        dd if="$tmp/blob" of="$dir/$file" oflag=seek_bytes seek="$start" conv=notrunc bs=1M status=none
        got["$file $start"]=1
    done
}

# leave_out writes FILE again without the row groups that are not whole.
leave_out() {
    local file=$1 id size f start group
    local -A bad=()
    while read -r id size f start group; do
        if [ "$f" = "$file" ] && [ -z "${got["$f $start"]-}" ]; then bad[$group]=1; fi
    done <"$tmp/wanted"
    : >"$tmp/part"
    while read -r id size f start group; do
        if [ "$f" = "$file" ] && [ -z "${bad[$group]-}" ]; then
            dd if="$2/$file" iflag=skip_bytes,count_bytes skip="$start" count="$size" bs=1M status=none >>"$tmp/part"
        fi
    done <"$tmp/wanted"
    mv -- "$tmp/part" "$2/$file"
}

# open POINT DIR PART reads the manifest of the point, whose ID is $point then,
# and makes the folder.
open() {
    local dir=$2 all
    point=$1
    [ "$point" != latest ] || point=$(names points | tail -n 1)
    [ -n "$point" ] || die "there is no recovery point in $from"
    all=$(names points) # empty where keys may not list: a point can be read all the same
    [ -z "$all" ] || grep -qxF -- "$point" <<<"$all" || die "there is no recovery point $point in $from; list prints those that there are"
    sealed "points/$point" "$tmp/point" || die "without points/$point there is nothing to restore"
    opened "$point"
    [ "$(jq .format "$tmp/manifest")" = 1 ] || die "points/$point has a format that this script does not know"
    [ "$(jq --arg p "$3" 'has($p)' "$tmp/manifest")" = true ] ||
        die "points/$point has no $3: $(jq -r --arg p "$3" '[.lacks[]? | select(.part == $p) | .why] | join(", ")' "$tmp/manifest")"
    [ -e "$dir" ] || made=1
    # Synapse's user has to get through to its media.
    [ "$3" != media ] || (umask 022 && mkdir -p -- "$(dirname -- "$dir")") || die "$dir can't be made"
    mkdir -p -- "$dir" || die "$dir can't be made"
    [ -z "$(ls -A -- "$dir")" ] || die "$dir is not empty"
}

# gather FILTER DIR writes the files that wanted names into a folder.
gather() {
    wanted "$1" >"$tmp/wanted"
    collect "$2"
}

# formed FILE PATTERN ends where a line made of what the archive says is none: who
# may write to the store could have made it so that it leads elsewhere.
formed() {
    local line
    ! line=$(grep -avEm 1 -- "^$2\$" "$1") || die "the archive says what no program writes (${line:0:200}): it was forged, nothing more is written"
}

# collect DIR writes the files of $tmp/wanted into a folder.
collect() {
    local id size file start group
    formed "$tmp/wanted" '[0-9a-f]{64} (-|[0-9]+) [a-z0-9]+(\.[a-z0-9]+)* [0-9]+ [0-9]+'
    declare -gA got=() # "FILE OFFSET" of the blobs that are in place
    [ -e "$tmp/p" ] || places
    sort -k1,1 "$tmp/wanted" >"$tmp/w"
    while read -r id size file start group; do
        damage "blob $id of $file is in no index object"
    done < <(join -v 1 "$tmp/w" "$tmp/p")
    join "$tmp/w" "$tmp/p" | sort -k6,6 -k7,7n >"$tmp/plan"
    fetch "$1" <"$tmp/plan"
}

restore() {
    local dir=$2 id size file start group
    open "$1" "$dir" database
    jq -r '.database.tables // [] | .[] | "\(.dump_id).dat"' "$tmp/manifest" >"$tmp/tables"
    formed "$tmp/tables" '[0-9]+\.dat'
    gather '.database | ((.toc // [] | blobs("toc.dat")), (.stream // [] | blobs("dump.custom")),
        (.tables // [] | .[] | "\(.dump_id).dat" as $f | .blobs // [] | blobs($f)))' "$dir"

    local -A lost=()
    while read -r id size file start group; do
        [ "${got["$file $start"]-}" ] || lost[$file]=1
    done <"$tmp/wanted"
    for file in "${!lost[@]}"; do
        case $file in
        [0-9]*) : >>"$dir/$file" && leave_out "$file" "$dir" && echo "rescue.sh: $(table "$file"): rows were left out" >&2 ;;
        *) die "$file can't be put together" ;;
        esac
    done
    # Every table has a file, and every file ends as pg_dump ends it.
    while read -r file; do
        printf '\\.\n\n\n' >>"$dir/$file"
    done <"$tmp/tables"
    [ "$damaged" = 0 ] || die "$dir is what could be saved; $damaged damaged objects and blobs were passed over"
    echo "$dir: all of the database of $point, every checksum right" >&2
}

# lines NAME prints the blobs NAME.0, NAME.1, … of the media listing that there are.
lines() { ls -- "$tmp/media" | { grep "^$1\." || true; } | sort -t. -k2n | while read -r f; do cat -- "$tmp/media/$f"; done; }

# text NAME sets $text to a path as the loop below gets it.
text() {
    case $1 in
    b:*) text=$(base64 -d <<<"${1#b:}" && echo .) && text=${text%.} ;; # the dot keeps newlines at the end
    *) text=${1#p:} ;;
    esac
}

# media writes the media files. Each blob becomes a file: of the listing's
# contents, of its pages, and of the media, below $parts.
media() {
    local dir=$2 parts count=0 n kind mode uid gid modified size blobs sum sparse path target text look='' clear=''
    local -a alike=()
    open "$1" "$dir" media
    parts=$(mktemp -d -- "$dir/.rescue.XXXXXX") # a name that no listing can have
    mkdir -- "$tmp/media"
    jq -r '.media.listing | to_entries[] | "\(.value.id) \(.value.size) contents.\(.key) 0 0"' "$tmp/manifest" >"$tmp/wanted"
    collect "$tmp/media"
    lines contents | jq -rn 'foreach inputs as $r (-1; . + 1; "\($r.page) \($r.size) pages.\(.) 0 0")' >"$tmp/wanted"
    collect "$tmp/media"
    lines pages >"$tmp/entries"
    jq -rn 'foreach inputs as $e (-1; . + 1; . as $n | $e.blobs // [] | to_entries[] | "\(.value) - \($n).\(.key) 0 0")' "$tmp/entries" >"$tmp/wanted"
    collect "$parts"
    # Files of one blob are checked at once, the others when they are put together.
    jq -rn 'foreach inputs as $e (-1; . + 1; . as $n | $e | select(.blobs | length == 1) | "\(.sha256 // .blobs[0])  \($n).0")' "$tmp/entries" >"$tmp/sums"
    formed "$tmp/sums" '[0-9a-f]{64}  [0-9]+\.0'
    while IFS=: read -r n _; do
        unset "got[$n 0]" && damage "file $n: its bytes are not those of the listing"
    done < <(cd -- "$parts" && sha256sum -c --quiet --ignore-missing "$tmp/sums" 2>/dev/null)

    jq -rn 'def name: if test("\\A[A-Za-z0-9_./@:,=~+-]*\\z") then "p:" + . else "b:" + @base64 end;
        foreach inputs as $e (-1; . + 1; . as $n | $e | [$n, .kind // "file", .mode, .uid // "", .gid // "", .modified, .size // 0,
            (.blobs // [] | length), .sha256 // "", .sparse // false,
            if .path64 then "b:" + .path64 else .path | name end,
            if .target64 then "b:" + .target64 else .target // "" | name end] | join("|"))' "$tmp/entries" >"$tmp/list"
    formed "$tmp/list" '[0-9]+\|[a-z]+\|[0-7]{4}\|[0-9]*\|[0-9]*\|-?[0-9]+\.[0-9]{9}\|[0-9]+\|[0-9]+\|[0-9a-f]*\|(true|false)\|[pb]:[^|]*\|[pb]:[^|]*'
    umask 022 # folders that the listing does not have are for Synapse, too; the rest is dressed
    while IFS='|' read -r n kind mode uid gid modified size blobs sum sparse path target; do
        text "$target" && target=$text
        text "$path"
        case /$text/ in */../* | */./* | *//*) die "a file of the media is called $text, which is no name" ;; esac
        path=$dir/$text
        free
        [ -d "${path%/*}" ] || mkdir -p -- "${path%/*}"
        case $kind in
        folder) { [ -d "$path" ] || mkdir -- "$path"; } && echo "$mode|$uid|$gid|$modified" >>"$tmp/folders" && printf '%s\0' "$path" >>"$tmp/folderpaths" && continue ;;
        link) ln -sT -- "$target" "$path" ;;
        fifo) mkfifo -- "$path" ;;
        file) whole || { echo "rescue.sh: $text was left out" >&2 && continue; } && count=$((count + 1)) ;;
        *) echo "rescue.sh: $text is a $kind, which its program makes again" >&2 && continue ;;
        esac
        dress "$path"
    done <"$tmp/list"
    dress_alike
    rm -rf -- "$parts"
    dress_folders
    [ "$damaged" = 0 ] || die "$dir is what could be saved; $damaged damaged objects and blobs were passed over"
    [ "$count" = "$(jq .media.files "$tmp/manifest")" ] || die "the point names other files than the $count that it has"
    echo "$dir: all $count media files of $point, every checksum right" >&2
}

# free ends where the path of the loop above can't be made: it is there, or it lies
# below a link, which could lead out of the folder. $clear is a folder that does not.
free() {
    local at=${path%/*}
    while [ "$at" != "$clear" ] && [ "$at" != "$dir" ]; do
        [ ! -L "$at" ] || die "a file of the media is called $text, and ${at#"$dir"/} is a link: the archive was forged, nothing more is written"
        at=${at%/*}
    done
    clear=${path%/*}
    if [ -L "$path" ] || [ -e "$path" ]; then
        [ "$kind" = folder ] && [ -d "$path" ] && [ ! -L "$path" ] || die "the media have two files that are called $text"
    fi
}

# whole puts the file of the loop above in its place, out of its blobs.
whole() {
    local k
    for ((k = 0; k < blobs; k++)); do [ "${got["$n.$k 0"]-}" ] || return 1; done
    case $blobs$sparse in
    0*) : >"$path" ;;
    1false) mv -- "$parts/$n.0" "$path" ;;
    *)
        for ((k = 0; k < blobs; k++)); do cat -- "$parts/$n.$k"; done >"$parts/$n"
        rm -f -- "$parts/$n".*
        cp --sparse=always -- "$parts/$n" "$path" && rm -f -- "$parts/$n"
        ;;
    esac
    [ "$blobs" -lt 2 ] || [ "$(sum "$path")" = "$sum" ] || { damage "$path: its bytes are not those of the listing" && rm -f -- "$path" && return 1; }
}

# dress PATH gives a path its owner, rights and time. Owner and rights wait for
# others that have the same.
dress() {
    local at=$modified seconds=${modified%.*} part=${modified#*.}
    # Seconds are rounded down; touch counts the fraction of a negative time backwards.
    [[ $seconds != -* || 10#$part -eq 0 ]] || printf -v at -- '-%d.%09d' $((-seconds - 1)) $((1000000000 - 10#$part))
    touch -h -d "@$at" -- "$1"
    [ "$look" = "$mode $uid:$gid" ] && [ "${#alike[@]}" -lt 500 ] || dress_alike
    look="$mode $uid:$gid"
    alike+=("$1")
}

# dress_alike does what dress left.
dress_alike() {
    local -a files=()
    local f
    for f in "${alike[@]}"; do [ -L "$f" ] || files+=("$f"); done
    if [ "$EUID" = 0 ] && [ "${look#* }" != : ] && [ "${#alike[@]}" -gt 0 ]; then chown -h -- "${look#* }" "${alike[@]}"; fi
    if [ "${#files[@]}" -gt 0 ]; then chmod -- "${look% *}" "${files[@]}"; fi
    alike=()
}

# dress_folders dresses the folders, the deepest first, as what is put into one changes its time.
dress_folders() {
    local mode uid gid modified i
    local -a paths=() attributes=()
    if [ "$made" ]; then chmod 755 -- "$dir"; fi
    [ -e "$tmp/folders" ] || return 0
    mapfile -d '' paths <"$tmp/folderpaths"
    mapfile -t attributes <"$tmp/folders"
    for ((i = ${#paths[@]} - 1; i >= 0; i--)); do
        IFS='|' read -r mode uid gid modified <<<"${attributes[i]}"
        dress "${paths[i]}"
    done
    if [ "$made" ]; then dress "$dir"; fi # like the first class: Synapse has to make folders in it
    dress_alike
}

# secrets writes the secrets, a line of JSON each, as the files that they were.
secrets() {
    local dir=$2 line name count=0
    open "$1" "$dir" secrets
    mkdir "$tmp/secrets"
    gather '.secrets.blobs | blobs("lines")' "$tmp/secrets"
    [ "$damaged" = 0 ] || die "the secrets can't be put together"
    while IFS= read -r line; do
        name=$(jq -r .name <<<"$line")
        case /$name/ in */../* | */./* | *//*) die "a secret is called $name, which is no name" ;; esac
        mkdir -p -- "$dir/$(dirname -- "$name")"
        jq -r .data <<<"$line" | base64 -d >"$dir/$name"
        jq -r '"\(.name): \(.what), was \(.from), mode \(.mode), owner \(.uid // "?"):\(.gid // "?")"' <<<"$line"
        count=$((count + 1))
    done <"$tmp/secrets/lines"
    [ "$count" = "$(jq '.secrets.files | length' "$tmp/manifest")" ] || die "the point names other secrets than the $count that it has"
    echo "$dir: all $count secrets of $point, every checksum right" >&2
}

table() { jq -r --arg f "$1" '.database.tables[] | select("\(.dump_id).dat" == $f) | "\(.schema).\(.name)"' "$tmp/manifest"; }

case $1 in
list) list ;;
restore) restore "$2" "$3" ;;
media) media "$2" "$3" ;;
secrets) secrets "$2" "$3" ;;
esac
