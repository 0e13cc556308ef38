package restore

import (
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

func TestBlueprintTellsWhatWillBeLost(t *testing.T) {
	t.Parallel()
	taken := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	b := &Blueprint{
		Homeserver: "matrix.example.org", Run: "restore-20261125T171500Z", Point: "20261125T020000Z-0123456789abcdef",
		Taken: taken, Age: "15 h 15 min", Verified: archive.Verification{Time: taken.Add(time.Hour), Level: "data", OK: true},
		Request:     Request{Mode: synapse.ModeSwap, Live: "synapse"},
		Database:    "synapse_restore_20261125t171500z",
		DumpVersion: 150018,
		Server: synapse.Inspection{
			ServerVersion: 170006, Server: "db:5432", LiveExists: true, FreeBytes: 20 << 30, NeedBytes: 1 << 30,
			Newer:    synapse.Newer{Known: true, Events: 1234, Users: 1, LastSeen: taken.Add(15 * time.Hour)},
			Sessions: []synapse.Session{{Application: "synapse", User: "synapse_user", Address: "10.0.0.7", Count: 5, Synapse: true}},
		},
		Tables: 175, Rows: 1000000, Load: 524 << 20,
		Steps:    []string{"look", "rename"},
		Warnings: []string{"mind the gap"},
	}
	const want = `Restore restore-20261125T171500Z of matrix.example.org
  point      20261125T020000Z-0123456789abcdef, taken 2026-11-25 02:00 UTC (15 h 15 min ago), verified 2026-11-25 03:00 UTC
  mode       swap: load beside the live database, check, then rename
  database   synapse (loaded as synapse_restore_20261125t171500z) on db:5432, PostgreSQL 17.6 (the point is from 15.18)
  size       175 tables, 1,000,000 rows in 524 MiB to load; about 1.0 GiB on disk, 20.0 GiB free
  lost       1,234 events, 1 new user newer than the point, the newest of 2026-11-25 17:00 UTC
  session    5 of synapse as synapse_user from 10.0.0.7 (Synapse)
  1. look
  2. rename
  warning    mind the gap
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := b.Refusal(); err != nil {
		t.Errorf("refused: %v", err)
	}
	b.Problems = []string{"the server is older", "the role may not create databases"}
	const refusal = "restore refused, nothing was touched: the server is older; the role may not create databases"
	if err := b.Refusal(); err == nil || err.Error() != refusal {
		t.Errorf("refusal is %v", err)
	}
	if !strings.Contains(b.String(), "refused    the server is older\n") {
		t.Error("the text does not have the refusal")
	}
}

// Who is asked has to know what about.
func TestWhatARestoreDestroys(t *testing.T) {
	t.Parallel()
	there := synapse.Inspection{LiveExists: true}
	files := func(n int64) []synapse.FillPlan {
		return []synapse.FillPlan{{Where: "/data/media_store", Deletes: n}, {Where: "/secrets"}}
	}
	for _, c := range []struct {
		mode   synapse.Mode
		server synapse.Inspection
		fill   []synapse.FillPlan
		want   string
	}{
		{synapse.ModeSwap, there, files(0), "restore replaces the live database s"},
		{synapse.ModeInPlace, there, files(2), "restore drops the live database s and deletes 2 files in /data/media_store"},
		{synapse.ModeBeside, there, files(1), "restore deletes 1 file in /data/media_store"},
		{"", synapse.Inspection{}, files(1234), "restore deletes 1,234 files in /data/media_store"},
		{"", synapse.Inspection{}, []synapse.FillPlan{{Where: "/data/media_store", Files: 9, Replaces: 1}}, "restore overwrites 1 file that differs in /data/media_store"},
		{"", synapse.Inspection{}, []synapse.FillPlan{{Where: "/m", Replaces: 2, Deletes: 1}}, "restore overwrites 2 files that differ in /m and deletes 1 file in /m"},
		{synapse.ModeSwap, synapse.Inspection{}, files(0), ""},
		{synapse.ModeBeside, there, nil, ""},
	} {
		b := &Blueprint{Request: Request{Mode: c.mode, Live: "s"}, Server: c.server, Fill: c.fill}
		if got := b.Destroys(); got != c.want {
			t.Errorf("%s: %q, want %q", c.mode, got, c.want)
		}
	}
}

func TestNewerText(t *testing.T) {
	t.Parallel()
	for want, in := range map[string]synapse.Inspection{
		"unknown: there is no database s that says what is newer than the point": {},
		"unknown: what is newer than the point in s could not be counted":        {LiveExists: true},
		"nothing that is newer than the point":                                   {Newer: synapse.Newer{Known: true}},
		"2 used devices, 1 upload newer than the point":                          {Newer: synapse.Newer{Known: true, Devices: 2, Media: 1}},
	} {
		b := &Blueprint{Request: Request{Live: "s"}, Server: in}
		if got := b.newerText(); got != want {
			t.Errorf("%+v: %s", in, got)
		}
	}
}
