package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
)

func TestWhomAnEntryNames(t *testing.T) {
	for _, c := range []struct {
		desc, sql string
		roles     []string
		renamed   string // after bob became "the boss"; empty: as before
	}{
		{"ACL", "REVOKE ALL ON TABLE public.t FROM bob;\nGRANT SELECT(a),INSERT(b) ON TABLE public.t TO PUBLIC;\n", []string{"bob"}, "REVOKE ALL ON TABLE public.t FROM \"the boss\";\nGRANT SELECT(a),INSERT(b) ON TABLE public.t TO PUBLIC;\n"},
		{"ACL", `SET SESSION AUTHORIZATION carol; GRANT ALL ON TABLE public."x TO y" TO "O""Neil" WITH GRANT OPTION; RESET SESSION AUTHORIZATION;`, []string{"carol", `O"Neil`}, ""},
		{"ACL", `GRANT ALL ON FUNCTION public.f(role text, "TO" int) TO żółw;`, []string{"żółw"}, ""},
		{"DEFAULT ACL", `ALTER DEFAULT PRIVILEGES FOR ROLE carol IN SCHEMA role GRANT SELECT ON TABLES TO dave;`, []string{"carol", "dave"}, ""},
		{"POLICY", `CREATE POLICY p ON public.t FOR SELECT TO keeper, bob USING (true);`, []string{"keeper", "bob"}, `CREATE POLICY p ON public.t FOR SELECT TO keeper, "the boss" USING (true);`},
		{"POLICY", `CREATE POLICY p ON public.t USING ((o IN ( SELECT u FROM bob)));`, nil, ""},
		{"POLICY", `CREATE POLICY p ON public.t TO keeper USING ((EXTRACT(year FROM created) > (20)::numeric));`, []string{"keeper"}, ""},
		{"POLICY", `CREATE POLICY p ON public.t AS RESTRICTIVE TO keeper USING ((o <> 'sent FROM (bob'::text)) WITH CHECK ((o <> E'a\'b TO c'::text));`, []string{"keeper"}, ""},
		{"USER MAPPING", `CREATE USER MAPPING FOR public SERVER s;`, nil, ""},
		{"USER MAPPING", "CREATE USER MAPPING FOR keeper SERVER \"FOR bob\" OPTIONS (\n    \"user\" 'TO bob, FOR bob'\n);\n", []string{"keeper"}, ""},
		{"TABLE", `CREATE TABLE t (a int) -- TO bob`, nil, ""},
	} {
		e := pgarchive.Entry{Desc: c.desc, Defn: c.sql}
		var got []string
		for _, s := range roleNames(&e) {
			got = append(got, unquote(c.sql[s.from:s.to]))
		}
		if !slices.Equal(got, c.roles) {
			t.Errorf("%s: names %q, not %q", c.sql, got, c.roles)
		}
		a := &pgarchive.Archive{Entries: []pgarchive.Entry{e}}
		renameRole(a, renamed{"bob", "the boss"})
		want := c.renamed
		if want == "" {
			want = c.sql
		}
		if a.Entries[0].Defn != want {
			t.Errorf("renamed: %s", a.Entries[0].Defn)
		}
	}
}

// Whatever is there is either quoted, in parentheses or a name.
func FuzzRoleNames(f *testing.F) {
	f.Add(`GRANT SELECT ON TABLE public."a""b" TO bob;`)
	f.Add(`CREATE POLICY p ON t TO a, "b" USING ((x = 'TO c'));`)
	f.Add(`TO "`)
	f.Add(`TO E'\`)
	f.Fuzz(func(t *testing.T, sql string) {
		for _, desc := range []string{"ACL", "POLICY", "USER MAPPING"} {
			last := 0
			for _, s := range roleNames(&pgarchive.Entry{Desc: desc, Defn: sql}) {
				if s.from < last || s.to <= s.from || s.to > len(sql) || strings.ContainsAny(sql[s.from:s.to][:1], "('") {
					t.Fatalf("%q: %+v", sql, s)
				}
				last = s.to
			}
		}
	})
}
