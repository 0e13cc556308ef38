package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// grace is how long Always steps get after an interruption. Kubernetes kills
// 30 s after it asked, and a lost lock is not given away for as long.
const grace = 20 * time.Second

// Beat is how often a run that holds no lock is saved while a step works: whose
// record is older by far is dead, as others are whose lock is.
const Beat = time.Minute

// Runner executes jobs. It has to be the only one that saves a run while it
// executes it; what else happens to the homeserver is kept out by the lock.
type Runner struct {
	Journal Journal
	Locker  Locker
	Log     *slog.Logger                 // nil: nothing is logged
	Now     func() time.Time             // nil: time.Now
	OnStep  func(run *Run, s StepRecord) // told when a step begins and ends; may be nil
	Grace   time.Duration                // how long Always steps may go on after an interruption; 0: 20 s
}

// attempt is one execution of a run by this process.
type attempt struct {
	*Runner
	run    *Run
	ctx    context.Context // what the caller may end
	held   context.Context // ctx, and the lock
	errs   []error         // of steps, the first is the reason
	failed bool            // steps that are not Always run no more
	stale  bool            // nothing runs any more
}

// Run executes the job as the run id: under the homeserver's lock, unless the
// job has a method Unlocked() bool that says it needs none, because it reads
// only. A run that is done already is returned as it is; another is resumed
// after its last step that is done.
//
// The run is returned with every error but those that came before it was open
// (ErrLocked, the journal's). It is [Interrupted] if ctx ended, and the error
// then wraps the context's. Panics are failures.
func (r *Runner) Run(ctx context.Context, job Job, id RunID) (*Run, error) {
	id.Due = id.Due.UTC().Truncate(time.Second)
	if id.Job == "" {
		id.Job = job.Name()
	}
	held, release, err := r.lock(ctx, job, id)
	if err != nil {
		return nil, err
	}
	run, err := r.execute(ctx, held, job, id)
	if rerr := release(); rerr != nil {
		// The lock is taken over by itself when its heartbeats stop.
		r.log().WarnContext(ctx, "lock not given back", "run", id.String(), "error", rerr)
	}
	return run, err
}

func unlocked(job Job) bool {
	u, ok := job.(interface{ Unlocked() bool })
	return ok && u.Unlocked()
}

func (r *Runner) lock(ctx context.Context, job Job, id RunID) (context.Context, func() error, error) {
	if unlocked(job) {
		return ctx, func() error { return nil }, nil
	}
	held, release, err := r.Locker.Lock(ctx, id.Homeserver, id.String())
	if err != nil {
		return nil, nil, fmt.Errorf("%s of %s: %w", id.Job, id.Homeserver, err)
	}
	return held, release, nil
}

func (r *Runner) execute(ctx, held context.Context, job Job, id RunID) (*Run, error) {
	run, err := r.Journal.Open(held, id)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", id.Job, id.Homeserver, err)
	}
	if run.State == Done {
		r.log().InfoContext(ctx, "run is done already", "run", id.String())
		return run, nil
	}
	run.Unlocked = unlocked(job)
	a := &attempt{Runner: r, run: run, ctx: ctx, held: held}
	a.open()
	steps, err := a.plan(job)
	if err == nil {
		err = a.save(held)
	}
	if err != nil {
		a.fail(a.because(err))
		steps = nil // nothing was begun, so there is nothing to put right
	}
	for _, s := range steps {
		a.step(s)
	}
	return run, a.close()
}

// open makes the run this process's.
func (a *attempt) open() {
	run := a.run
	if run.Started.IsZero() {
		run.Started = a.now()
	}
	run.State, run.Ended, run.Error = Running, time.Time{}, ""
	run.PID = os.Getpid()
	run.Host, _ = os.Hostname() // for people to read; a run without one is fine
}

func (a *attempt) plan(job Job) (steps []Step, err error) {
	defer a.recover("plan", &err)
	steps, err = job.Plan(a.held, a.run)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, s := range steps {
		if s.Name == "" || seen[s.Name] {
			return nil, fmt.Errorf("%s has two steps %q, or one without a name", job.Name(), s.Name)
		}
		seen[s.Name] = true
	}
	return steps, nil
}

// step executes a step, if it is to be.
func (a *attempt) step(s Step) {
	ctx := a.held
	if ctx.Err() != nil && !a.failed {
		a.fail(a.cause())
	}
	switch {
	case a.stale || a.failed && !s.Always:
		return
	case a.run.done(s.Name) && !s.Again && !s.Always:
		a.log().InfoContext(a.ctx, "step is done already", "run", a.run.String(), "step", s.Name)
		return
	}
	if ctx.Err() != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(context.WithoutCancel(a.held), a.grace())
		defer stop()
	}
	rec := a.run.begin(s.Name)
	rec.State, rec.Started, rec.Ended, rec.Error = Running, a.now(), time.Time{}, ""
	if err := a.save(ctx); err != nil {
		a.fail(fmt.Errorf("%s: %w", s.Name, err))
		if a.stale || !s.Always { // what must happen happens without the journal, too
			return
		}
	}
	a.tell(*rec)
	still := a.beat(ctx)
	note, err := a.do(ctx, s)
	still()
	a.end(s, note, err)
}

// beat saves a run without a lock now and then, until it is told to be still. A
// save that does not succeed is no reason not to work: the next one may.
func (a *attempt) beat(ctx context.Context) (still func()) {
	if !a.run.Unlocked {
		return func() {}
	}
	stop := make(chan struct{})
	var heart sync.WaitGroup
	heart.Go(func() {
		tick := time.NewTicker(Beat)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			// Not cut off with ctx: a save whose answer is not waited for may have
			// been done, and the next would not know its tag.
			last, done := context.WithTimeout(context.WithoutCancel(ctx), a.grace())
			if err := a.save(last); err != nil {
				a.log().WarnContext(ctx, "sign of life not written", "run", a.run.String(), "error", err)
			}
			done()
		}
	})
	return func() {
		close(stop)
		heart.Wait()
	}
}

// do calls the step's function.
func (a *attempt) do(ctx context.Context, s Step) (note any, err error) {
	defer a.recover("step "+s.Name, &err)
	return s.Do(ctx)
}

// end records how a step ended.
func (a *attempt) end(s Step, note any, err error) {
	rec := a.run.step(s.Name)
	if raw, jerr := json.Marshal(note); jerr != nil {
		err = errors.Join(err, fmt.Errorf("note of step %s: %w", s.Name, jerr))
	} else if note != nil {
		rec.Note = raw
	}
	rec.Ended, rec.State = a.now(), Done
	switch {
	case err == nil:
	case errors.Is(err, ErrIncomplete):
		rec.State, rec.Error = Incomplete, oneLine(err)
		a.errs = append(a.errs, named(s.Name, err))
	default:
		a.fail(named(s.Name, a.because(err)))
		rec.State, rec.Error = a.failure(), oneLine(err)
	}
	a.logEnd(*rec, err)
	a.tell(*rec)
	if a.stale {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(a.held), a.grace())
	defer stop()
	if err := a.save(ctx); err != nil {
		a.fail(fmt.Errorf("%s: %w", s.Name, err))
	}
}

// close ends the attempt: it gives the run its state and says why.
func (a *attempt) close() error {
	a.run.Ended = a.now()
	switch {
	case a.failed:
		a.run.State = a.failure()
	case len(a.errs) > 0:
		a.run.State = Incomplete
	default:
		a.run.State = Done
	}
	err := sequence(a.errs)
	if err != nil {
		a.run.Error = oneLine(err)
	}
	if !a.stale {
		ctx, stop := context.WithTimeout(context.WithoutCancel(a.held), a.grace())
		defer stop()
		if serr := a.save(ctx); serr != nil {
			a.run.State = Failed
			err = sequence(append(a.errs, serr))
		}
	}
	return named(a.run.Job, err)
}

// named puts a job's or a step's name before an error, unless it begins with
// that word already.
func named(name string, err error) error {
	if err == nil {
		return nil
	}
	rest, found := strings.CutPrefix(err.Error(), name)
	if found && rest != "" && strings.ContainsAny(rest[:1], " :,") {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// fail notes a reason for which the steps end here.
func (a *attempt) fail(err error) {
	a.errs = append(a.errs, err)
	a.failed = true
	if errors.Is(err, ErrStale) || errors.Is(context.Cause(a.held), ErrStale) {
		a.stale = true
	}
}

// because adds to a step's error why its context ended, which the step itself
// may not have said.
func (a *attempt) because(err error) error {
	cause := a.cause()
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, cause)
}

// cause is why the work's context ended; nil if it did not.
func (a *attempt) cause() error {
	if a.ctx.Err() == nil {
		return context.Cause(a.held)
	}
	if cause := context.Cause(a.ctx); !errors.Is(cause, a.ctx.Err()) {
		return fmt.Errorf("%w: %w", a.ctx.Err(), cause)
	}
	return a.ctx.Err()
}

// failure is the state of what did not work out: interrupted if that was the
// caller's wish.
func (a *attempt) failure() State {
	if a.ctx.Err() != nil {
		return Interrupted
	}
	return Failed
}

func (a *attempt) save(ctx context.Context) error {
	if err := a.Journal.Save(ctx, a.run); err != nil {
		return fmt.Errorf("journal of %s: %w", a.run.RunID, err)
	}
	return nil
}

// recover makes a panic an error. What was on the stack is for the log only.
func (a *attempt) recover(where string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic in %s: %v", where, p)
		a.log().ErrorContext(a.ctx, "panic", "run", a.run.String(), "where", where, "stack", string(debug.Stack()))
	}
}

func (a *attempt) tell(rec StepRecord) {
	if a.OnStep != nil {
		a.OnStep(a.run, rec)
	}
}

func (a *attempt) logEnd(rec StepRecord, err error) {
	log := a.log().With("run", a.run.String(), "step", rec.Name, "seconds", rec.Ended.Sub(rec.Started).Seconds())
	switch rec.State {
	case Done:
		log.InfoContext(a.ctx, "step done")
	case Incomplete:
		log.WarnContext(a.ctx, "step done in part", "error", err)
	default:
		log.ErrorContext(a.ctx, "step not done", "state", rec.State, "error", err)
	}
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

func (r *Runner) now() time.Time {
	if r.Now == nil {
		return time.Now().UTC()
	}
	return r.Now().UTC()
}

func (r *Runner) grace() time.Duration {
	if r.Grace <= 0 {
		return grace
	}
	return r.Grace
}

// sequence makes one error of several, on one line, in the order they came.
func sequence(errs []error) error {
	var all error
	for _, err := range errs {
		switch {
		case all == nil:
			all = err
		case strings.HasSuffix(all.Error(), err.Error()): // the journal fails twice, of one cause
		default:
			all = fmt.Errorf("%w; then %w", all, err)
		}
	}
	return all
}
