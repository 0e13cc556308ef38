package restore

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
)

// packs are the keys of the archive's packs.
func (w *world) packs() (keys []string) {
	for _, key := range w.keys() {
		if strings.HasPrefix(key, "packs/") {
			keys = append(keys, key)
		}
	}
	return keys
}

// packOf finds a pack that, flipped in its middle or missing, spoils the table
// and nothing essential, by asking the archive about each.
func (w *world) spoil(table string, how func(key string, body []byte)) {
	w.t.Helper()
	for _, key := range w.packs() {
		body, err := storage.ReadAll(w.t.Context(), w.store, key)
		w.ok(err)
		how(key, bytes.Clone(body))
		o := w.options(synapse.ModeSwap)
		found, _, err := proveBlobs(w.t.Context(), o.Reader, w.point.Manifest, 1)
		w.ok(err)
		if found.tables["public."+table] != "" && len(found.tables) == 1 && found.essential == "" {
			return
		}
		_, err = w.store.Put(w.t.Context(), key, body, storage.PutOptions{})
		w.ok(err)
	}
	w.t.Fatalf("no pack spoils %s alone", table)
}

// spoilBlob changes a byte of the table's rows, wherever they are in a pack.
func (w *world) spoilBlob(table string) {
	w.t.Helper()
	const step = 60 // bytes: fewer than the rows have
	for _, key := range w.packs() {
		body, err := storage.ReadAll(w.t.Context(), w.store, key)
		w.ok(err)
		for i := 0; i < len(body); i += step {
			changed := bytes.Clone(body)
			changed[i] ^= 1
			_, err = w.store.Put(w.t.Context(), key, changed, storage.PutOptions{})
			w.ok(err)
			found, _, err := proveBlobs(w.t.Context(), w.options(synapse.ModeSwap).Reader, w.point.Manifest, 1)
			w.ok(err)
			if found.tables["public."+table] != "" && len(found.tables) == 1 && found.essential == "" {
				return
			}
		}
		_, err = w.store.Put(w.t.Context(), key, body, storage.PutOptions{})
		w.ok(err)
	}
	w.t.Fatalf("no byte spoils %s alone", table)
}

func (w *world) remove(key string, _ []byte) { w.ok(w.store.Delete(w.t.Context(), key)) }

func (w *world) flip(key string, body []byte) {
	body[len(body)/2] ^= 1
	_, err := w.store.Put(w.t.Context(), key, body, storage.PutOptions{})
	w.ok(err)
}

func TestMissingBlobsAreRefusedBeforeTheLiveDatabaseIsTouched(t *testing.T) {
	t.Parallel()
	for _, mode := range []synapse.Mode{synapse.ModeSwap, synapse.ModeInPlace, synapse.ModeBeside} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			before := w.fingerprint(w.live)
			w.spoil("events", w.remove)
			_, err := w.restore(w.options(mode))
			want(t, err, "restore refused, nothing was touched", "public.events", "--skip-damaged")
			w.same(w.live, before)
			if got := w.databases(); len(got) != 1 {
				t.Errorf("databases are %v", got)
			}
		})
	}
}

// In place the damage must be found before the live database is dropped, even
// if only reading finds it.
func TestDamagedBlobsAreRefusedBeforeTheLiveDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	w.spoil("events", w.flip)
	_, err := w.restore(w.options(synapse.ModeInPlace))
	want(t, err, "public.events", "nothing was touched")
	w.same(w.live, before)
}

func TestRestoreCompleteIsNeverPrintedAfterAFailedLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	w.spoil("events", w.flip)
	run, err := w.restore(w.options(synapse.ModeSwap))
	want(t, err, "public.events", "the live database was not touched")
	if run.State != jobs.Failed || has(run, load) || has(run, settle) {
		t.Errorf("the run is %s: %+v", run.State, run.Steps)
	}
	w.same(w.live, before)
	s, err := Status(run, keptTill, nil)
	w.ok(err)
	if strings.Contains(s.Says, "done") || !strings.Contains(s.Says, "the point is damaged") || strings.Contains(s.String(), "resume") {
		t.Errorf("status says %s", s)
	}
	w.ok(w.closed(NewDrop, run, nil))
	if got := w.databases(); len(got) != 1 {
		t.Errorf("databases are %v", got)
	}
}

func TestTheRestOfADamagedPointIsRestoredInPart(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(*world) func(string, []byte){
		"missing": func(w *world) func(string, []byte) { return w.remove },
		"flipped": func(w *world) func(string, []byte) { return w.flip },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.spoil("events", how(w))
			o := w.options(synapse.ModeBeside)
			o.SkipDamaged = true
			run, err := w.restore(o)
			if !errors.Is(err, jobs.ErrIncomplete) || run.State != jobs.Incomplete {
				t.Fatalf("run is %v: %v", run.State, err)
			}
			want(t, err, "public.events left empty")
			got := w.fingerprint(o.Target)
			if !strings.Contains(got, "events 0 ") || !strings.Contains(got, "rooms 50 ") || !strings.Contains(got, "doubles 100 ") {
				t.Errorf("restored is %s", got)
			}
		})
	}
}

// Rows that point to a damaged table must not keep the rest from being restored:
// the foreign key is there, and not validated.
func TestAForeignKeyToADamagedTableDoesNotEndTheRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.spoilBlob("rooms")
	o := w.options(synapse.ModeSwap)
	o.SkipDamaged = true
	_, err := w.restore(o)
	if !errors.Is(err, jobs.ErrIncomplete) {
		t.Fatal(err)
	}
	want(t, err, "public.rooms left empty; foreign keys that point there: events_room_id_fkey of public.events (NOT VALID)")
	got := w.fingerprint(w.live)
	for _, text := range []string{"rooms 0 ", "events 2000 ", "events_room_id_fkey false FOREIGN KEY (room_id) REFERENCES rooms(room_id) NOT VALID", "events_pkey true"} {
		if !strings.Contains(got, text) {
			t.Errorf("the restored database does not have %q: %s", text, got)
		}
	}
}

// A load whose result is not what the point promises must not go live.
func TestSeriousFindingsStopTheSwap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	o := w.options(synapse.ModeSwap)
	o.Server = doubter{w.server}
	run, err := w.restore(o)
	want(t, err, "must not be used", "row counts: public.events has 1 rows", "restore drop "+run.RunID.String())
	w.same(w.live, before)
	_, err = w.restore(w.options(synapse.ModeSwap))
	want(t, err, "must not be used")
	forced := w.options(synapse.ModeSwap)
	forced.Force = true
	run, err = w.restore(forced)
	w.ok(err)
	v, err := must[verdict](run, check)
	w.ok(err)
	if len(v.Forced) != 1 {
		t.Errorf("what was overridden is not in the journal: %+v", v)
	}
	w.same(w.live, w.state)
}

// doubter finds something serious in every load.
type doubter struct{ Server }

func (d doubter) Load(ctx context.Context, q synapse.LoadRequest) (synapse.LoadReport, error) {
	report, err := d.Server.Load(ctx, q)
	report.Findings = append(report.Findings, synapse.Finding{Name: "row counts", Serious: true, Detail: "public.events has 1 rows, the recovery point has 2000"})
	return report, err
}

func TestTheVerdictNamesWhatWasVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	v, err := must[verdict](run, check)
	w.ok(err)
	said := strings.Join(v.Verified, "\n")
	for _, text := range []string{"row counts", "index", "constraint", "sequence", "one-time keys"} {
		if !strings.Contains(said, text) {
			t.Errorf("the verdict does not say %q:\n%s", text, said)
		}
	}
}
