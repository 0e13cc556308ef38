package dir_test

import (
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/dir"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

func open(t *testing.T) *dir.Store {
	t.Helper()
	s, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) storage.Store { return open(t) })
}

func TestSub(t *testing.T) {
	storetest.Test(t, func(t *testing.T) storage.Store { return storage.Sub(open(t), "one/two/") })
}
