package journal_test

import (
	"testing"

	"github.com/synapse-maint/synapse-maint/storage/mem"
)

func TestRaceForLock(t *testing.T) {
	t.Parallel()
	t.Run("mem", func(t *testing.T) {
		t.Parallel()
		raceForLock(t, mem.New())
	})
}
