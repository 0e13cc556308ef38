package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// rights asks whether the role may do what the restore has to.
func (i *inspector) rights(ctx context.Context) error {
	if !i.createDB && !i.in.TargetExists {
		i.problem("role %s may not create databases: ALTER ROLE %s CREATEDB, or restore as a superuser", i.in.User, quote(i.in.User))
	}
	if i.super {
		return nil
	}
	if i.q.Mode == synapse.ModeSwap && i.in.LiveExists {
		var member bool
		if err := i.c.QueryRow(ctx, "SELECT pg_catalog.pg_has_role($1, 'MEMBER')", i.live.Owner).Scan(&member); err != nil {
			return err
		}
		if !member {
			i.problem("role %s may not rename database %s of %s: GRANT %s TO %s, or restore as a superuser", i.in.User, i.live.Name, i.live.Owner, quote(i.live.Owner), quote(i.in.User))
		}
	}
	if i.toc == nil {
		return nil
	}
	for _, desc := range i.superuserOnly() {
		i.problem("the recovery point has an %s, which only a superuser may create: restore as a superuser", desc)
	}
	return nil
}

// superuserOnly lists the kinds of objects that need a superuser.
func (i *inspector) superuserOnly() []string {
	var kinds []string
	for id := range i.wanted() {
		e := i.toc.byID[id]
		switch e.Desc {
		case "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "ACCESS METHOD":
			if kind := strings.ToLower(e.Desc); !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	slices.Sort(kinds)
	return kinds
}

// wanted are the entries that will be restored.
func (i *inspector) wanted() map[int]bool {
	all := map[int]bool{}
	for _, ids := range [][]int{i.toc.pre, i.toc.post} {
		for _, id := range ids {
			all[id] = true
		}
	}
	for _, b := range i.toc.build {
		all[b.id] = true
	}
	return all
}

// roles finds roles that the recovery point names and the server has not, and
// those that the restoring role can't act for.
func (i *inspector) roles(ctx context.Context) error {
	need := map[string]bool{}
	owner := i.q.Owner
	if owner == "" {
		owner = i.q.Dump.Owner
	}
	if owner != "" {
		need[owner] = true
	}
	i.streamOwner(need)
	if len(i.q.Only) == 0 && (!i.in.TargetExists || i.in.TargetOurs && !i.target.Mark.guest) { // as the load's last step
		for _, r := range settledRoles(ownedBy(i.q.Dump, i.q.Owner)) {
			need[r] = true
		}
	}
	owners := i.owners(need)
	rows, err := i.c.Query(ctx, "SELECT rolname::text, pg_catalog.pg_has_role(oid, 'MEMBER') FROM pg_catalog.pg_roles")
	if err != nil {
		return err
	}
	have := map[string]bool{}
	var name string
	var member bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &member}, func() error { have[name] = member; return nil }); err != nil {
		return err
	}
	var missing, strangers []string
	for r := range need {
		if _, ok := have[r]; !ok {
			missing = append(missing, r)
		} else if !i.super && owners[r] && !have[r] {
			strangers = append(strangers, r)
		}
	}
	slices.Sort(missing)
	slices.Sort(strangers)
	if len(missing) > 0 {
		i.problem("the server lacks role(s) that the recovery point names: %s; create them first (CREATE ROLE %s LOGIN), with their passwords", sentence(missing), quote(missing[0]))
	}
	if len(strangers) > 0 {
		i.problem("role %s may not give objects to their owner(s) %s: GRANT %s TO %s, or restore as a superuser", i.in.User, sentence(strangers), quote(strangers[0]), quote(i.in.User))
	}
	return nil
}

// streamOwner says what a stream can't do: give what the dump's owner had to
// another, as a load of its own does.
func (i *inspector) streamOwner(need map[string]bool) {
	was, will := i.q.Dump.Owner, i.q.Owner
	if will == "" && i.q.Mode != synapse.ModeBeside {
		will = i.in.LiveOwner
	}
	if len(i.q.TOC) > 0 || was == "" || will == "" || will == was {
		return
	}
	need[was] = true
	i.warn("the recovery point is one stream of pg_dump, in which everything keeps its owner: the database will be %s's, and what was %s's in it stays so; REASSIGN OWNED there before Synapse uses it as %s", will, was, will)
}

// owners adds the roles that the entries name, and returns those of them that
// own something.
func (i *inspector) owners(need map[string]bool) map[string]bool {
	owners := map[string]bool{}
	if i.toc == nil {
		return owners
	}
	for id := range i.wanted() {
		e := i.toc.byID[id]
		if e.Owner != "" {
			need[e.Owner], owners[e.Owner] = true, true
		}
		for _, s := range roleNames(e) {
			need[unquote(e.Defn[s.from:s.to])] = true
		}
	}
	return owners
}

// ownTablespace asks for that of the database as a whole. It may lie on a disk
// of its own, and the server's may be too small.
func (i *inspector) ownTablespace(ctx context.Context) error {
	name := i.q.Dump.Tablespace
	if name == "" || i.in.TargetExists {
		return nil
	}
	var err error
	if i.ownSpace, err = usableTablespace(ctx, i.c, name); err == nil && !i.ownSpace {
		i.warn("the database was in tablespace %s, which the server lacks or role %s may not use: it will be in the server's default one", name, i.in.User)
	}
	return err
}

// extensions asks for those that the server has not, or that the role may not
// create, and for tablespaces.
func (i *inspector) extensions(ctx context.Context) error {
	if i.toc == nil {
		return nil
	}
	for id := range i.wanted() {
		e := i.toc.byID[id]
		if e.Desc == "EXTENSION" {
			if err := i.extension(ctx, e.Tag); err != nil {
				return err
			}
		}
	}
	return i.tablespaces(ctx)
}

func (i *inspector) extension(ctx context.Context, name string) error {
	var available, anyone bool
	err := i.c.QueryRow(ctx, `SELECT count(*) > 0, coalesce(bool_or(NOT v.superuser OR v.trusted), false)
		FROM pg_catalog.pg_available_extension_versions v JOIN pg_catalog.pg_available_extensions x ON x.name = v.name AND x.default_version = v.version
		WHERE v.name = $1`, name).Scan(&available, &anyone)
	if err != nil {
		return err
	}
	major := i.in.ServerVersion / 10000
	switch {
	case !available:
		i.problem("the server lacks the extension %s, which the recovery point needs: install its package there (postgresql-contrib, or postgresql-%d-%s)", name, major, strings.ReplaceAll(name, "_", "-"))
	case !anyone && !i.super:
		i.problem("the extension %s may only be created by a superuser: restore as a superuser", name)
	}
	return nil
}

func (i *inspector) tablespaces(ctx context.Context) error {
	var need []string
	for id := range i.wanted() {
		if t := i.toc.byID[id].Tablespace; t != "" && t != "pg_default" && !slices.Contains(need, t) {
			need = append(need, t)
		}
	}
	have, err := names(ctx, i.c, "SELECT spcname::text FROM pg_catalog.pg_tablespace")
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(need, func(t string) bool { return slices.Contains(have, t) })
	slices.Sort(missing)
	if len(missing) > 0 {
		i.problem("the server lacks tablespace(s) of the recovery point: %s; create them first (CREATE TABLESPACE)", sentence(missing))
	}
	return nil
}

// gib writes bytes for people.
func gib(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }
