package secrets_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs/secrets"
)

// A FIFO comes and goes in the place of a file, between any two looks at it: the
// backup waits for nobody to write to it, and does not take it for a file that
// is empty.
func TestAFIFOInAFilesPlace(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"form": "f"})
	path := dir + "/form"
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for {
			err := errors.Join(
				syscall.Mkfifo(dir+"/fifo", 0o600), os.Rename(dir+"/fifo", path),
				os.WriteFile(dir+"/file", []byte("f"), 0o600), os.Rename(dir+"/file", path),
			)
			select {
			case <-stop:
				stopped <- err
				return
			default:
			}
			if err != nil {
				<-stop
				stopped <- err
				return
			}
		}
	}()
	waits := time.AfterFunc(time.Minute, func() { panic("it waits for the other end of the FIFO") })
	read := 0
	for range 40_000 {
		waits.Reset(time.Minute)
		items, err := secrets.Files{Extra: []string{path}}.Secrets(t.Context())
		ok(t, err)
		if len(items) != 1 || items[0].Err == nil && string(items[0].Data) != "f" {
			t.Fatalf("%d items, the first with %q", len(items), items[0].Data)
		}
		if items[0].Err == nil {
			read++
		}
	}
	waits.Stop()
	close(stop)
	ok(t, <-stopped)
	if read == 0 || read == 40_000 {
		t.Errorf("read %d times: nothing was replaced in time", read)
	}
}

// Without one file there is no part, whatever the reason: it would pass for one.
func TestNoSecretIsNoPart(t *testing.T) {
	t.Parallel()
	_, warnings, err := take(t, newSafe(t).job, secrets.Files{Extra: []string{t.TempDir() + "/gone"}})
	if err == nil || !strings.Contains(err.Error(), "not one that can be read") || len(warnings) != 1 {
		t.Errorf("%v, warnings %q", err, warnings)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("terminated")
	cancel(ended)
	if items, err := (secrets.Files{Extra: []string{folder(t, map[string]string{"form": "f"}) + "/form"}}).Secrets(ctx); !errors.Is(err, ended) {
		t.Errorf("%d items, %v", len(items), err)
	}
}

// All are held in memory: what is beyond the bound is left out, and said.
func TestSecretsAreBoundedInAll(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a": "", "b": "", "c": "", "d": "", "e": "e", "f": ""})
	for _, name := range []string{"a", "b", "c", "d"} {
		ok(t, os.Truncate(dir+"/"+name, 16<<20))
	}
	v, err := secrets.NewPart(secrets.Options{Sources: []secrets.Source{secrets.Files{Extra: []string{dir}}}}).Preview(t.Context())
	ok(t, err)
	if v.Files != 5 || v.Bytes != 64<<20 || len(v.Lines) != 1 || !strings.HasSuffix(v.Lines[0], "/e (configured): left out: more than 64 MiB of secrets in all") {
		t.Errorf("%+v", v)
	}
}
