package storage_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// careless accepts conditions and does not keep them, as some servers do.
type careless struct {
	storage.Store
	absent, match bool // which of them
}

func (c careless) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	if c.absent {
		opt.IfAbsent = false
	}
	if c.match {
		opt.IfMatch = ""
	}
	return c.Store.Put(ctx, key, body, opt)
}

func TestServerThatIgnoresConditionsIsRefused(t *testing.T) {
	for _, s := range []careless{{absent: true}, {match: true}, {absent: true, match: true}} {
		s.Store = mem.New()
		err := storage.CheckConditions(t.Context(), s, "checks/conditions")
		if err == nil || !strings.Contains(err.Error(), "ignores conditions") {
			t.Errorf("%+v: error is %v", s, err)
		}
	}
}

func TestCheckConditions(t *testing.T) {
	s := mem.New()
	if err := storage.CheckConditions(t.Context(), s, "checks/conditions"); err != nil {
		t.Error(err)
	}
	for o, err := range s.List(t.Context(), "") {
		t.Errorf("%s is left (%v)", o.Key, err)
	}
	broken := errors.New("broken")
	for n := 1; n <= 5; n++ {
		s := storetest.Faulty(mem.New(), storetest.FailNth(n, broken))
		if err := storage.CheckConditions(t.Context(), s, "checks/conditions"); !errors.Is(err, broken) {
			t.Errorf("with call %d broken: %v", n, err)
		}
	}
}
