package mem_test

import (
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

func TestStore(t *testing.T) {
	storetest.Test(t, func(*testing.T) storage.Store { return mem.New() })
}

func TestSub(t *testing.T) {
	storetest.Test(t, func(*testing.T) storage.Store { return storage.Sub(mem.New(), "one/two/") })
}
