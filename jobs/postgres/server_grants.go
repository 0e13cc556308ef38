package postgres

import (
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// grantStatements gives a database, quoted, the privileges that aclitem texts
// list, and no others. nil is the default: nothing is done.
func grantStatements(db string, d synapse.Database) []string {
	if d.Grants == nil {
		return nil
	}
	out := []string{"REVOKE ALL ON DATABASE " + db + " FROM PUBLIC"}
	for _, item := range d.Grants {
		to, privileges, ok := parseACL(item)
		if !ok {
			continue
		}
		for _, p := range privileges {
			grant := "GRANT " + p.name + " ON DATABASE " + db + " TO " + to
			if p.option {
				grant += " WITH GRANT OPTION"
			}
			out = append(out, grant)
		}
	}
	return out
}

// ownedBy returns what is set on a dumped database, and who may do what to it, as
// it is when somebody else owns what its owner did. Empty: nobody else.
func ownedBy(d synapse.Database, owner string) synapse.Database {
	if owner == "" || owner == d.Owner {
		return d
	}
	d.Settings, d.Grants = slices.Clone(d.Settings), slices.Clone(d.Grants)
	for i := range d.Settings {
		if d.Settings[i].Role == d.Owner {
			d.Settings[i].Role = owner
		}
	}
	for i, item := range d.Grants {
		if name, rest, ok := aclName(item); ok && name == d.Owner {
			d.Grants[i] = quote(owner) + rest
		}
	}
	return d
}

// settledRoles are those that [settle] names.
func settledRoles(d synapse.Database) (names []string) {
	for _, s := range d.Settings {
		if s.Role != "" {
			names = append(names, s.Role)
		}
	}
	for _, item := range d.Grants {
		if name, _, ok := aclName(item); ok && name != "" {
			names = append(names, name)
		}
	}
	return names
}

// privilege of a database.
type privilege struct {
	name   string
	option bool // may be granted on
}

// parseACL reads an aclitem, "grantee=privileges/grantor", as PostgreSQL prints
// it: the grantee is empty for PUBLIC and quoted where it needs it; a privilege
// is a letter, with a * where it may be granted on.
func parseACL(item string) (to string, privileges []privilege, ok bool) {
	name, rest, ok := aclName(item)
	if !ok || !strings.HasPrefix(rest, "=") {
		return "", nil, false
	}
	to = "PUBLIC"
	if name != "" {
		to = quote(name)
	}
	letters, _, _ := strings.Cut(rest[1:], "/")
	words := map[byte]string{'C': "CREATE", 'T': "TEMPORARY", 'c': "CONNECT"}
	for i := 0; i < len(letters); i++ {
		if w, known := words[letters[i]]; known {
			privileges = append(privileges, privilege{w, i+1 < len(letters) && letters[i+1] == '*'})
		}
	}
	return to, privileges, true
}

// aclName reads a role's name at the start of s.
func aclName(s string) (name, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexByte(s, '=')
		if i < 0 {
			return "", "", false
		}
		return s[:i], s[i:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), s[i+1:], true
	}
	return "", "", false
}
