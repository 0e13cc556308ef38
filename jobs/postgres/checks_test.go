package postgres

import (
	"strings"
	"testing"
)

// Incident: "restore complete" was printed after statements had failed. Each
// kind of loss below is one that the check after a load has to name, and that
// must keep the database from going live.
func TestWhatALoadLacksIsFound(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	created(t, p, s, "run-1", "load_lacks", src.dump)
	q := src.request(t, "run-1", "load_lacks", 1<<20)
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	lost := []struct{ name, sql, detail string }{
		{"row counts", `DELETE FROM parent WHERE a = 1`, "public.parent has 0 rows"},
		{"number of views", `DROP VIEW view`, "there, "},
		{"number of sequences", `DROP SEQUENCE lonely`, "there, "},
		{"number of functions", `DROP FUNCTION refuse() CASCADE`, "there, "},
		{"number of triggers", `DROP TRIGGER IF EXISTS refuse ON plain`, "there, "}, // it goes with its function
		{"number of indexes", `DROP INDEX plain_partial`, "there, "},
		{"number of policies", `DROP POLICY mine ON secret`, "there, "},
		{"number of foreign keys", `ALTER TABLE "Ünïcode schema"."Tab ""le" DROP CONSTRAINT IF EXISTS "Tab ""le_plain_id_fkey"`, "there, "},
		{"number of primary keys and unique constraints", `ALTER TABLE plain DROP CONSTRAINT plain_pkey CASCADE`, "there, "},
		{"indexes are valid", `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'plain_expr'::regclass`, "invalid: public.plain_expr"},
		{"constraints are validated", `ALTER TABLE empty ADD CONSTRAINT unchecked CHECK (x > 0) NOT VALID`, "unchecked"},
	}
	for _, l := range lost {
		must(t, p.Exec(t.Context(), "load_lacks", "SET session_replication_role = replica; "+l.sql)) // past the event trigger
	}
	rep, err = s.Load(t.Context(), q) // complete: it is only checked
	must(t, err)
	found := map[string]string{}
	for _, f := range rep.Bad() {
		found[f.Name] = f.Detail
	}
	for _, l := range lost {
		if !strings.Contains(found[l.name], l.detail) || found[l.name] == "" {
			t.Errorf("%s: not found after %s: %q", l.name, l.sql, found[l.name])
		}
	}
}
