package app

import (
	"errors"

	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/prune"
)

// PruneRequest is what a prune is asked for.
type PruneRequest struct {
	Policy  prune.Policy // the zero one: the configuration's
	Drop    []string     // IDs of points of the future: only these go, whatever the policy
	Agreed  []string     // points that somebody has agreed to drop; nil: any
	Despite bool         // although backups fail
}

// Prune makes the job that applies retention.
func (a *Archive) Prune(q PruneRequest) (*prune.Job, error) {
	if q.Policy == (prune.Policy{}) {
		r := a.app.conf.Retention
		q.Policy = prune.Policy{
			Last: r.KeepLast, Hourly: r.KeepHourly, Daily: r.KeepDaily, Weekly: r.KeepWeekly, Monthly: r.KeepMonthly, Yearly: r.KeepYearly,
		}
	}
	err := a.checkKeys()
	if len(q.Drop) == 0 {
		err = errors.Join(usage(q.Policy.Check()), err)
	}
	if err != nil {
		return nil, err
	}
	return prune.New(prune.Options{
		Archive: a.Archive, Journal: a.Journal(), Backup: backup.JobName, Policy: q.Policy, Drop: q.Drop, Agreed: q.Agreed, Despite: q.Despite,
		Retain: a.place.retain(), Program: a.app.opt.Program, Progress: a.app.opt.Progress, Log: a.app.opt.Log,
	}), nil
}
