package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

func (p *program) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "One recovery point in full",
		Long:  "Shows what a recovery point holds. ID is one from list, its beginning, a time, or latest.",
		Args:  between(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return p.runShow(cmd.Context(), args[0]) },
	}
}

// shownPoint is a recovery point in JSON: the manifest without its blobs.
type shownPoint struct {
	listed
	Homeserver string               `json:"homeserver"`
	Program    string               `json:"program"`
	Run        string               `json:"run"`
	Encrypted  bool                 `json:"encrypted"`
	Media      *archive.Media       `json:"media,omitempty"`
	Secrets    []archive.SecretFile `json:"secrets,omitempty"`
	Database   synapse.Database     `json:"database"`
	Stream     string               `json:"stream,omitempty"` // why it is one
	Tables     []shownTable         `json:"tables"`           // largest first
}

type shownTable struct {
	Name  string `json:"name"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
	Blobs int    `json:"blobs"`
}

func (p *program) runShow(ctx context.Context, at string) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	pt, err := a.Point(ctx, at)
	if err != nil {
		return err
	}
	l, _ := describe(pt)
	m := pt.Manifest
	s := shownPoint{listed: l, Homeserver: m.Homeserver, Program: m.Program, Run: m.Run, Encrypted: a.Encrypted(), Tables: []shownTable{}}
	if m.Media != nil {
		media := *m.Media
		media.Listing = nil
		s.Media = &media
	}
	if m.Secrets != nil {
		s.Secrets = m.Secrets.Files
	}
	if d := m.Database; d != nil {
		if err := json.Unmarshal(d.Info, &s.Database); err != nil {
			return fmt.Errorf("recovery point %s: its description of the database: %w", pt.ID, err)
		}
		s.Stream = d.Reason
		for _, t := range d.Tables {
			s.Tables = append(s.Tables, shownTable{t.Schema + "." + t.Name, t.Rows, t.Bytes, len(t.Blobs)})
		}
	}
	slices.SortStableFunc(s.Tables, func(a, b shownTable) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return p.print(s, p.showText(s, m))
}

func (p *program) showText(s shownPoint, m *archive.Manifest) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "Recovery point %s of %s\n", s.ID, s.Homeserver)
	line("taken", "%s, finished %s later, by %s", stamp(m.Taken), progress.Duration(m.Finished.Sub(m.Taken)), s.Program)
	line("run", "%s", s.Run)
	line("verified", "%s", proof(s.Verified))
	line("size", "%s, of which %s were new; %s stored, %s", jobs.Size(m.Sizes.Logical), jobs.Size(m.Sizes.New),
		jobs.Size(m.Sizes.Stored), encryption(s.Encrypted))
	partLines(line, s.Media, len(s.Secrets), s.Lacks, s.Degraded)
	p.fileTables(&b, s)
	if m.Database != nil {
		p.databaseText(&b, line, s)
	}
	return progress.Fold(b.String())
}

// fileTables are those of media classes and secrets.
func (p *program) fileTables(b *strings.Builder, s shownPoint) {
	if s.Media != nil && len(s.Media.Classes) > 0 {
		var rows [][]string
		for _, c := range s.Media.Classes {
			rows = append(rows, []string{c.Name, jobs.Count(c.Files, ""), jobs.Size(c.Bytes)})
		}
		b.WriteString("\n" + p.table([]string{"MEDIA", ">FILES", ">BYTES"}, rows))
	}
	if len(s.Secrets) > 0 {
		var rows [][]string
		for _, f := range s.Secrets {
			rows = append(rows, []string{oneLine(f.Name), jobs.Size(f.Size), f.What})
		}
		b.WriteString("\n" + p.table([]string{"SECRET", ">BYTES", "WHAT"}, rows))
	}
}

// oneLine quotes a name that has anything but what can be printed on a line.
func oneLine(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}

// databaseText is the part of show that is about the database.
func (p *program) databaseText(b *strings.Builder, line liner, s shownPoint) {
	d := s.Database
	b.WriteString("\n")
	line("database", "%s of %s, PostgreSQL %s, %s on the server's disk", d.Name, d.Owner, serverVersion(d.Version), jobs.Size(d.Size))
	line("locale", "%s, collate %s, ctype %s", d.Encoding, d.Collate, d.CType)
	if d.Schema != nil {
		line("synapse", "schema version %d, compatible down to %d", d.Schema.Version, d.Schema.Compat)
	}
	line("wal", "%s", d.LSN)
	emptiedLine(line, d.Emptied)
	if s.Stream != "" {
		line("stream", "one stream of pg_dump: %s", s.Stream)
		return
	}
	var rows [][]string
	empty := 0
	for _, t := range s.Tables {
		if t.Rows == 0 {
			empty++
			continue
		}
		rows = append(rows, []string{t.Name, jobs.Count(t.Rows, ""), jobs.Size(t.Bytes), jobs.Count(int64(t.Blobs), "")})
	}
	b.WriteString("\n" + p.table([]string{"TABLE", ">ROWS", ">BYTES", ">BLOBS"}, rows))
	if empty > 0 {
		fmt.Fprintf(b, "and %s without rows\n", jobs.Count(int64(empty), "table"))
	}
}

// proof is the newest check of a point in words.
func proof(v *archive.Verification) string {
	switch {
	case v == nil:
		return "never"
	case !v.OK:
		return "found DAMAGED " + stamp(v.Time)
	case v.Level == "data":
		return stamp(v.Time)
	default:
		return stamp(v.Time) + " (all is there; the data was not read)"
	}
}
