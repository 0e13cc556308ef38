package testbed_test

import (
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

func TestZooFitsEveryVersion(t *testing.T) {
	for _, major := range []int{15, 17} {
		dsn := testbed.Zoo(t, testbed.PostgresVersion(t, major))
		if n := query(t, dsn, "SELECT count(*)::text FROM zoo.many"); n != "54999" {
			t.Errorf("PostgreSQL %d: %s rows in zoo.many", major, n)
		}
	}
}
