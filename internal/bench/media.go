package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// hopeless is how many times as long as the fastest peer another may take in
// the first round; beyond, it is not run again, since it won't be the fastest.
const hopeless = 1.5

// mediaBench is a media store, a server that counts requests, and those who
// copy the one to the other.
type mediaBench struct {
	*bench
	dir      string            // everything is in it
	out      string            // of the restore under way
	s3       *testbed.S3Server // its own: the other rows' counts nothing
	tree     *testbed.Media
	files    int // of the tree before it changes
	bytes    int64
	syncers  []*syncer
	versions []string  // of the peers
	deleted  time.Time // when whole buckets were, last
}

// cost is a sample with the requests that the server got.
type cost struct {
	sample
	requests int
}

// A phase is something that every syncer does, and is measured at.
type phase string

const (
	firstSync phase = "first sync"
	unchanged phase = "nothing changed"
	changed   phase = "1 % changed"
	restored  phase = "full restore"
)

// media measures the copy of a media store to S3 and back, beside those that
// operators use for it.
func (b *bench) media(ctx context.Context) error {
	m, err := b.mediaBench(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(m.dir) // what comes next needs the room
	defer m.s3.Stop()
	for _, p := range []struct {
		phase
		run func(context.Context) error
	}{{firstSync, m.first}, {unchanged, m.again}, {changed, m.change}, {restored, m.back}} {
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.phase, err)
		}
	}
	m.conclude()
	return nil
}

func (b *bench) mediaBench(ctx context.Context) (*mediaBench, error) {
	_, versions, err := timed(ctx, b.env("postgres"), peerVersions)
	if err != nil {
		return nil, err
	}
	o := testbed.BenchMedia()
	o.Bytes = o.Bytes / int64(o.Files) * int64(b.files)
	o.Files = b.files
	began := time.Now()
	if err := os.WriteFile(b.config(), []byte(everyClass), 0o600); err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "media")
	tree, err := testbed.FillMedia(ctx, filepath.Join(dir, "media_store"), o)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%7.2f s  for %d files, %d MiB\n", time.Since(began).Seconds(), tree.Files(), tree.Bytes()>>20)
	server, err := testbed.StartS3Counting(ctx, filepath.Join(dir, "s3"))
	if err != nil {
		return nil, err
	}
	m := &mediaBench{bench: b, dir: dir, s3: server, tree: tree, files: tree.Files(), bytes: tree.Bytes(), syncers: syncers(), versions: strings.Split(strings.TrimSpace(versions), "\n")}
	for _, s := range m.syncers {
		if err := errors.Join(server.MakeBucket(s.bucket()), os.MkdirAll(s.state(dir), 0o700)); err != nil {
			server.Stop()
			return nil, err
		}
	}
	return m, nil
}

// first copies everything, each time to an empty bucket.
func (m *mediaBench) first(ctx context.Context) error {
	return m.rounds(func(round int) error {
		for _, s := range m.running(firstSync, round) {
			if err := m.afresh(ctx, s); err != nil {
				return err
			}
			if round > 0 {
				m.deleted = time.Now()
			}
			if err := m.measureSyncer(ctx, s, firstSync, s.sync); err != nil {
				return err
			}
		}
		return nil
	})
}

// again copies what is there already.
func (m *mediaBench) again(ctx context.Context) error {
	return m.rounds(func(int) error { return m.everyone(ctx, unchanged) })
}

// change copies what a day has added and removed.
func (m *mediaBench) change(ctx context.Context) error {
	return m.rounds(func(int) error {
		if err := m.tree.Change(ctx, 1); err != nil {
			return err
		}
		return m.everyone(ctx, changed)
	})
}

func (m *mediaBench) everyone(ctx context.Context, p phase) error {
	for _, s := range m.syncers {
		if s.aside {
			continue
		}
		if err := m.measureSyncer(ctx, s, p, s.sync); err != nil {
			return err
		}
	}
	return nil
}

// inodesRest is how long ext4 passes over the inodes of deleted files, one by
// one, and longer than a restore takes: RECENTCY_MIN and RECENTCY_DIRTY in its
// ialloc.c. Whoever makes files in that time may pay twice for it.
const inodesRest = 361 * time.Second

// back brings everything back, each time into a new folder. Nothing is deleted
// between: the next to make files would pay for it.
func (m *mediaBench) back(ctx context.Context) error {
	if err := wait(ctx, time.Until(m.deleted.Add(inodesRest))); err != nil {
		return err
	}
	return m.rounds(func(round int) error {
		for _, s := range m.running(restored, round) {
			if s.aside {
				continue
			}
			m.out = filepath.Join(m.dir, "restored", fmt.Sprint(round), s.word())
			if err := os.MkdirAll(m.out, 0o700); err != nil {
				return err
			}
			if err := m.measureSyncer(ctx, s, restored, s.restore); err != nil {
				return err
			}
			if err := m.complete(m.out); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	})
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// complete makes sure that a restore is one: as many files and bytes.
func (m *mediaBench) complete(dir string) error {
	var files int
	var bytes int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	})
	if err == nil && (files != m.tree.Files() || bytes != m.tree.Bytes()) {
		return fmt.Errorf("restored %d files, %d bytes, not %d and %d", files, bytes, m.tree.Files(), m.tree.Bytes())
	}
	return err
}

func (m *mediaBench) rounds(do func(round int) error) error {
	for round := range m.bench.rounds {
		if err := do(round); err != nil {
			return err
		}
	}
	return nil
}

// running are the syncers that a round of a long phase is worth: in the first,
// all.
func (m *mediaBench) running(p phase, round int) []*syncer {
	if round == 0 {
		return m.syncers
	}
	var some []*syncer
	best := m.fastest(p)
	for _, s := range m.syncers {
		if s.ours && !s.aside || !s.ours && s.costs[p][0].wall.Seconds() <= hopeless*best.costs[p][0].wall.Seconds() {
			some = append(some, s)
		}
	}
	return some
}

// afresh empties a syncer's bucket and forgets what it remembers.
func (m *mediaBench) afresh(ctx context.Context, s *syncer) error {
	if err := errors.Join(removeContents(m.s3.Dir(s.bucket())), removeContents(s.state(m.dir))); err != nil {
		return err
	}
	_, _, err := timed(ctx, m.environment(s), s.prepare)
	return err
}

func (m *mediaBench) measureSyncer(ctx context.Context, s *syncer, p phase, script string) error {
	if _, _, err := timed(ctx, m.environment(s), "sync"); err != nil {
		return err
	}
	if _, err := m.s3.TakeRequests(s.bucket()); err != nil { // of before
		return err
	}
	got, _, err := timed(ctx, m.environment(s), script)
	if err != nil {
		return err
	}
	requests, err := m.s3.TakeRequests(s.bucket())
	if err != nil {
		return err
	}
	c := cost{sample: got}
	for _, n := range requests {
		c.requests += n
	}
	fmt.Fprintf(os.Stderr, "%7.2f s  %6.2f CPU-s  %5d MiB  %6d requests  %s, %s\n", c.wall.Seconds(), c.cpu.Seconds(), c.memory>>20, c.requests, s.name, p)
	s.costs[p] = append(s.costs[p], c)
	return nil
}

// environment is what the scripts of a syncer know: the media store, where to
// restore to, its bucket, and a folder for what it wants to remember.
func (m *mediaBench) environment(s *syncer) []string {
	one := *m.bench
	one.s3, one.bucket = m.s3, s.bucket()
	state := s.state(m.dir)
	return append(one.env("postgres"),
		"CONFIG="+m.config(), "AWS_CA_BUNDLE=", // rclone refuses to start with one; loopback has no TLS
		"TREE="+m.tree.Dir, "OUT="+m.out, "BUCKET="+one.bucket, "STATE="+state, "XDG_CACHE_HOME="+state,
		"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=s3:"+m.s3.Endpoint()+"/"+one.bucket)
}
