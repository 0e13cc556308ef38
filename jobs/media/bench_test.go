package media_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// cpu is the processor time that this process has used, in seconds.
func cpu(t testing.TB) float64 {
	t.Helper()
	var r unix.Rusage
	ok(t, unix.Getrusage(unix.RUSAGE_SELF, &r))
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// BenchmarkNothingChanged is a night on which 20,000 files stayed as they were.
func BenchmarkNothingChanged(b *testing.B) {
	s, err := dir.Create(b.TempDir())
	ok(b, err)
	w := newWorldIn(b, s, false)
	ok(b, unix.Rmdir(w.dir))
	_, err = testbed.FillMedia(b.Context(), w.dir, testbed.TinyMedia(20_000))
	ok(b, err)
	w.options.Classes = synapse.MediaClasses()
	w.must()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		w.must()
	}
	b.ReportMetric((cpu(b)-before)*1e3/float64(b.N), "cpu-ms/op")
	if w.stats.NewBytes > 0 {
		b.Errorf("%+v", w.stats)
	}
}
