package main

import (
	"path/filepath"
	"strings"
)

const (
	ourMediaBackup = `"$SM" --config "$CONFIG" backup --only media --media "$TREE" --output json`
	peerVersions   = `restic version | cut -d' ' -f1,2; rclone version | head -n1; aws --version | cut -d' ' -f1 | tr / ' '`
)

// everyClass is a configuration with which ours takes what the peers take: by
// itself it leaves out the caches.
const everyClass = `defaults:
  media:
    classes: [local_content, local_thumbnails, remote_content, remote_thumbnail, url_cache, url_cache_thumbnails, other]
`

// config is the file that everyClass is in.
func (b *bench) config() string { return filepath.Join(b.dir, "config.yaml") }

// syncer copies a media store to a bucket and back.
type syncer struct {
	name    string
	prepare string // a script, not measured, that makes an empty bucket ready
	sync    string
	restore string
	ours    bool
	aside   bool // measured at one first sync only, and compared with nothing
	costs   map[phase][]cost
}

// syncers are ours and the peers, each as its manual advises for a store of
// many small files. rclone: a listing of everything at once instead of one for
// each of thousands of folders, and the server's time of modification, or else
// it asks for each object's own.
func syncers() []*syncer {
	const (
		rclone = `rclone --config "" --s3-provider Other --s3-env-auth --s3-endpoint "$ENDPOINT" --s3-region us-east-1 --s3-no-check-bucket ` +
			`--transfers 16 --checkers 16 --fast-list -q `
		aws = `aws --endpoint-url "$ENDPOINT" s3 sync --only-show-errors `
	)
	ours := func(name, prepare string, aside bool) *syncer {
		return &syncer{
			name: name, ours: true, aside: aside, prepare: prepare,
			sync:    ourMediaBackup,
			restore: `"$SM" --config "$CONFIG" restore --only media --media-path "$OUT" --yes --output json`,
		}
	}
	all := []*syncer{
		ours("synapse-maint", `"$SM" init --output json`, false),
		{
			name: "restic", prepare: "restic init -q", sync: `cd "$TREE" && restic backup -q .`,
			restore: `restic restore -q latest --target "$OUT"`,
		},
		{
			name: "rclone", prepare: "true", sync: rclone + `--update --use-server-modtime sync "$TREE" ":s3:$BUCKET"`,
			restore: rclone + `copy ":s3:$BUCKET" "$OUT"`,
		},
		{
			name: "aws s3 sync", prepare: "true", sync: aws + `--delete "$TREE" "s3://$BUCKET"`,
			restore: aws + `"s3://$BUCKET" "$OUT"`,
		},
		ours("synapse-maint, encrypted",
			`age-keygen -o "$STATE/key" 2>/dev/null && "$SM" init --recipient "$(age-keygen -y "$STATE/key")" --output json`, true),
	}
	encrypted := all[len(all)-1]
	const key = `export SYNAPSE_MAINT_JOB_IDENTITY="$STATE/job.key"; `
	encrypted.prepare, encrypted.sync = key+encrypted.prepare, key+encrypted.sync
	for _, s := range all {
		s.costs = map[phase][]cost{}
	}
	return all
}

// word is the name as buckets and folders may have it.
func (s *syncer) word() string { return strings.NewReplacer(" ", "-", ",", "").Replace(s.name) }

func (s *syncer) bucket() string { return "media-" + s.word() }

// state is the syncer's own folder, for what it wants to remember.
func (s *syncer) state(dir string) string { return filepath.Join(dir, "state-"+s.word()) }
