package postgres

import (
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
)

// span is where something stands in an SQL text.
type span struct{ from, to int }

// roleNames finds whom an entry's SQL names besides its owner, in the forms in
// which pg_dump writes them (dumpACL, dumpPolicy, dumpUserMappings):
//
//	GRANT … ON … TO role; REVOKE … FROM role; SET SESSION AUTHORIZATION role
//	ALTER DEFAULT PRIVILEGES FOR ROLE role IN SCHEMA … GRANT … TO role
//	CREATE POLICY name ON table … TO role, role USING (…)
//	CREATE USER MAPPING FOR role SERVER … OPTIONS (…)
//
// Whatever is in parentheses or quotes names none, as an expression of a policy.
func roleNames(e *pgarchive.Entry) []span {
	switch e.Desc {
	case "ACL", "DEFAULT ACL":
		return after(e.Defn, "TO", "FROM", "ROLE", "AUTHORIZATION")
	case "POLICY":
		return after(e.Defn, "TO")
	case "USER MAPPING":
		if all := after(e.Defn, "FOR"); len(all) > 0 {
			return all[:1]
		}
	}
	return nil
}

// after returns the names, with commas between them, that follow keywords:
// pg_dump writes these in capitals, and names with capitals in quotes.
func after(sql string, keywords ...string) (found []span) {
	words := tokens(sql)
	for i := 0; i+1 < len(words); i++ {
		if !slices.Contains(keywords, sql[words[i].from:words[i].to]) {
			continue
		}
		for i++; i < len(words); i += 2 {
			name := sql[words[i].from:words[i].to]
			if !isName(name[0]) && name[0] != '"' { // RESET SESSION AUTHORIZATION;
				break
			}
			if !public(name) {
				found = append(found, words[i])
			}
			if i+1 == len(words) || sql[words[i+1].from] != ',' {
				break
			}
		}
	}
	return found
}

// public says whether a name stands for everybody, or for who is connected:
// nobody can be called so.
func public(name string) bool {
	switch strings.ToUpper(name) {
	case "PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE":
		return true
	}
	return false
}

// tokens cuts SQL into names, quoted names and single other characters. It
// leaves out strings and whatever is in parentheses.
func tokens(sql string) (list []span) {
	depth := 0
	for i := 0; i < len(sql); {
		from := i
		switch c := sql[i]; {
		case c == '"' || c == '\'':
			i = closing(sql, i)
			if c == '"' && depth == 0 {
				list = append(list, span{from, i})
			}
			continue
		case isName(c):
			for i < len(sql) && (isName(sql[i]) || sql[i] >= '0' && sql[i] <= '9' || sql[i] == '$') {
				i++
			}
			if depth == 0 {
				list = append(list, span{from, i})
			}
			continue
		case c == '(':
			depth++
		case c == ')':
			depth = max(0, depth-1)
		case depth == 0 && c > ' ':
			list = append(list, span{from, i + 1})
		}
		i++
	}
	return list
}

// closing is the end of what is quoted at i. In strings that begin with E a
// backslash takes the next character with it.
func closing(sql string, i int) int {
	quote := sql[i]
	escapes := quote == '\'' && i > 0 && (sql[i-1] == 'E' || sql[i-1] == 'e')
	for i++; i < len(sql); i++ {
		switch {
		case escapes && sql[i] == '\\':
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return len(sql)
}

// isName says whether a byte may begin a name: PostgreSQL takes every byte of a
// character that is not ASCII for a letter.
func isName(c byte) bool {
	return c == '_' || c >= 0x80 || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// renameRole gives to one role what the dump gives to another.
func renameRole(a *pgarchive.Archive, role renamed) {
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Owner == role.from {
			e.Owner = role.to
		}
		for _, s := range slices.Backward(roleNames(e)) {
			if unquote(e.Defn[s.from:s.to]) == role.from {
				e.Defn = e.Defn[:s.from] + quote(role.to) + e.Defn[s.to:]
			}
		}
	}
}
