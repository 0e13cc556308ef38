package restore

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// takeStream takes a recovery point of the live database as one stream.
func (w *world) takeStream() archive.Point {
	w.t.Helper()
	ctx := w.t.Context()
	dump := exec.CommandContext(ctx, filepath.Join(w.pg.BinDir(), "pg_dump"), "-Fc", "-Z0", "--exclude-table-data=e2e_one_time_keys_json")
	dump.Env = w.config(w.live).Env()
	whole, err := dump.Output()
	w.ok(err)
	writer, err := w.archive.Writer(ctx, archive.WriterOptions{})
	w.ok(err)
	db := &archive.Database{Info: w.info(), Reason: "a test"}
	for piece := range slices.Chunk(whole, 50_000) {
		id, _, err := writer.Add(ctx, piece)
		w.ok(err)
		db.Stream = append(db.Stream, archive.Blob{ID: id, Size: int64(len(piece))})
	}
	_, err = writer.Close(ctx)
	w.ok(err)
	id, err := w.archive.Commit(ctx, &archive.Manifest{
		Homeserver: homeserver, Started: w.now, Taken: w.now, Finished: w.now, Database: db,
	})
	w.ok(err)
	point, err := w.archive.Find(ctx, id)
	w.ok(err)
	return point
}

// The plan can't look into a stream: what it needs and the server lacks was
// found when the live database was gone.
func TestAStreamIsRehearsedBeforeTheLiveDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	role := w.live + "_reader"
	w.exec(w.live, "CREATE ROLE "+role+"; GRANT SELECT ON doubles TO "+role)
	w.point = w.takeStream()
	w.exec(w.live, "REVOKE SELECT ON doubles FROM "+role+"; DROP ROLE "+role)
	before := w.fingerprint(w.live)
	_, err := w.restore(w.options(synapse.ModeInPlace))
	want(t, err, role, "the live database was not touched")
	w.same(w.live, before)

	w.point = w.takeStream()
	w.exec(w.live, "DELETE FROM doubles")
	_, err = w.restore(w.options(synapse.ModeInPlace))
	w.ok(err)
	w.exec(w.live, "INSERT INTO e2e_one_time_keys_json VALUES ('@a:hs', 'signed_curve25519:AAAA', '{}')") // it left them out
	w.same(w.live, before)
}
