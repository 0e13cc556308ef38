package postgres

import (
	"context"
	"maps"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// mediaOf collects rows by path.
func mediaOf(t *testing.T, rows synapse.MediaRows) map[string]synapse.MediaRow {
	t.Helper()
	all := map[string]synapse.MediaRow{}
	err := rows(t.Context(), func(r synapse.MediaRow) error {
		if _, twice := all[r.Path]; twice {
			t.Errorf("%s comes twice", r.Path)
		}
		all[r.Path] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Synapse's tables name the very files that Synapse writes, as the snapshot has
// them.
func TestMediaRowsNameTheFilesOfAMediaStore(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	url := testbed.SynapseDatabase(t, p, 0.01)
	m, err := testbed.FillMedia(t.Context(), t.TempDir(), testbed.TinyMedia(400))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SaveRows(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	want := map[string]synapse.MediaRow{}
	for _, i := range m.Items {
		sum := i.SHA256
		if i.Unhashed {
			sum = ""
		}
		want[i.Path()] = synapse.MediaRow{Class: i.Class, Path: i.Path(), Length: i.Size, SHA256: sum}
		for _, th := range i.Thumbnails {
			path := i.ThumbnailPath(th)
			class := map[string]string{
				synapse.LocalContent: synapse.LocalThumbnails, synapse.RemoteContent: synapse.RemoteThumbnails, synapse.URLCache: synapse.URLCacheThumbnails,
			}[i.Class]
			want[path] = synapse.MediaRow{Class: class, Path: path, Length: th.Size}
		}
	}
	c := parsed(t, url)
	s := snap(t, p, url)
	if err := m.Change(t.Context(), 10); err != nil { // after the snapshot
		t.Fatal(err)
	}
	if err := m.SaveRows(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if got := mediaOf(t, s.MediaRows); !maps.Equal(got, want) {
		t.Errorf("%d rows, not the %d of the store, or others: %v", len(got), len(want), someOther(got, want))
	}
	if got := mediaOf(t, MediaRows(c)); maps.Equal(got, want) || len(got) != m.Files() {
		t.Errorf("%d rows of now, not %d", len(got), m.Files())
	}
	for path := range want {
		if !synapse.IsMediaPath(path) {
			t.Errorf("%s would be called none of Synapse's", path)
		}
	}
	if got := mediaOf(t, MediaRows(parsed(t, p.Database(t)))); len(got) > 0 {
		t.Errorf("%d rows of a database that is not Synapse's", len(got))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.MediaRows(ctx, func(synapse.MediaRow) error { return nil }); err == nil {
		t.Error("an interrupted read was none")
	}
}

// someOther is a row that the one has and the other has not.
func someOther(got, want map[string]synapse.MediaRow) any {
	for path, r := range got {
		if want[path] != r {
			return []synapse.MediaRow{r, want[path]}
		}
	}
	return nil
}
