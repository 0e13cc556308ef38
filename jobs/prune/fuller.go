package prune

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// unknown is how many media files are lost where nobody has looked.
const unknown = math.MaxInt64

// candidate is a point as the policy sees it.
func candidate(p archive.Point, good bool) Candidate {
	c := Candidate{ID: p.ID, Taken: p.Taken, Parts: p.Manifest.Parts(), Good: good}
	if m := p.Manifest.Media; m != nil {
		c.MediaLost = unknown
		if m.Proof != nil {
			c.MediaLost = m.Proof.Lost.Number() + m.Proof.Mismatches.Number() + m.Odd.Number()
		}
	}
	if s := p.Manifest.Secrets; s != nil {
		for _, f := range s.Files {
			c.Secrets = append(c.Secrets, f.From)
		}
	}
	for _, line := range p.Manifest.Degraded {
		if text, ok := strings.CutPrefix(line, archive.PartSecrets+": "); ok {
			path, _, _ := strings.Cut(text, " (")
			c.SecretsLost = append(c.SecretsLost, path)
		}
	}
	return c
}

// keepFuller notes, of points that have a part, newest first, those that have
// more of it than the newest. A disk that loses files, or a key that can't be
// read any more, must not push out the last point that has them.
func keepFuller(part string, having []Candidate, why map[string][]string) {
	if len(having) == 0 {
		return
	}
	switch part {
	case archive.PartMedia:
		fullerMedia(having, why)
	case archive.PartSecrets:
		for _, path := range having[0].SecretsLost {
			fullerSecrets(path, having, why)
		}
	}
}

// fullerMedia keeps the newest that lacks at most half of what those after it
// do, and so on: where files are lost one by one, that is not every point.
func fullerMedia(having []Candidate, why map[string][]string) {
	least := having[0].MediaLost
	for _, c := range having {
		if c.MediaLost >= least || c.MediaLost > least/2 {
			continue
		}
		least = c.MediaLost
		reason := "the newest with all of its media"
		if least > 0 {
			reason = fmt.Sprintf("the newest with no more than %s lost", jobs.Count(least, "media file"))
		}
		why[c.ID] = append(why[c.ID], reason)
	}
}

// fullerSecrets keeps the newest that has a file, or those of a folder.
func fullerSecrets(path string, having []Candidate, why map[string][]string) {
	has := func(c Candidate) bool {
		return !slices.Contains(c.SecretsLost, path) && slices.ContainsFunc(c.Secrets, func(s string) bool {
			return s == path || strings.HasPrefix(s, strings.TrimSuffix(path, "/")+"/")
		})
	}
	if n := slices.IndexFunc(having, has); n >= 0 {
		id := having[n].ID
		why[id] = append(why[id], fmt.Sprintf("the newest with %s", path))
	}
}
