package postgres

import (
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgservicefile"
)

// passed are the settings of a connection that pgx turns into something else,
// by the variable that tells them to PostgreSQL's programs.
var passed = map[string]string{
	"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
	"sslcrl": "PGSSLCRL", "sslsni": "PGSSLSNI", "sslnegotiation": "PGSSLNEGOTIATION", "sslcertmode": "PGSSLCERTMODE",
	"ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION", "channel_binding": "PGCHANNELBINDING",
	"require_auth": "PGREQUIREAUTH", "gssencmode": "PGGSSENCMODE", "krbsrvname": "PGKRBSRVNAME",
}

// unhindered are options of a session that no timeout of its role ends, and that
// may write though the role is for reading only unless it says otherwise. pg_dump
// turns timeouts off itself, but not before its first statements.
const unhindered = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=off"

// Env is the environment for PostgreSQL's programs: that of this process, but
// they connect as this config says, and speak English.
func (c *Config) Env() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	vars := map[string]string{
		"PGHOST": c.pg.Host, "PGPORT": strconv.Itoa(int(c.pg.Port)), "PGUSER": c.pg.User, "PGDATABASE": c.Database(),
		"PGPASSWORD": c.pg.Password, "PGHOSTADDR": c.addr, "PGPASSFILE": c.settings["passfile"],
		"PGAPPNAME":         c.pg.RuntimeParams["application_name"],
		"PGCONNECT_TIMEOUT": strconv.Itoa(max(2, int(c.pg.ConnectTimeout.Seconds()))),
		"PGOPTIONS":         strings.TrimSpace(c.settings["options"] + " " + unhindered),
		"LC_ALL":            "C",
	}
	for setting, name := range passed {
		vars[name] = c.settings[setting]
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if vars[name] != "" {
			env = append(env, name+"="+vars[name])
		}
	}
	return env
}

// settingsOf collects a connection's settings where pgx looks for them, in the
// same order: the connection string, the service file, the environment. Errors
// were pgx's to find.
func settingsOf(dsn string) (map[string]string, error) {
	var given map[string]string
	var err error
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		given, err = urlSettings(dsn)
	} else {
		given = keywordSettings(dsn)
	}
	if err != nil {
		return nil, err
	}
	settings := map[string]string{"passfile": os.Getenv("PGPASSFILE"), "options": os.Getenv("PGOPTIONS"), "connect_timeout": os.Getenv("PGCONNECT_TIMEOUT")}
	for setting, name := range passed {
		settings[setting] = os.Getenv(name)
	}
	maps.Copy(settings, serviceSettings(given))
	maps.Copy(settings, given)
	return settings, nil
}

// serviceSettings reads the service file, where a service is asked for.
func serviceSettings(given map[string]string) map[string]string {
	name, file := given["service"], given["servicefile"]
	if name == "" {
		name = os.Getenv("PGSERVICE")
	}
	if file == "" {
		file = os.Getenv("PGSERVICEFILE")
	}
	if home, err := os.UserHomeDir(); file == "" && err == nil {
		file = home + "/.pg_service.conf"
	}
	if name == "" {
		return nil
	}
	services, err := pgservicefile.ReadServicefile(file)
	if err != nil {
		return nil
	}
	service, err := services.GetService(name)
	if err != nil {
		return nil
	}
	return service.Settings
}

func urlSettings(dsn string) (map[string]string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, parseError(err)
	}
	settings := map[string]string{}
	for k, v := range u.Query() {
		settings[k] = v[len(v)-1]
	}
	if settings["ssl"] == "true" && settings["sslmode"] == "" {
		settings["sslmode"] = "require"
	}
	return settings, nil
}

// keywordSettings reads "key = value key='va\'lue'", as PQconninfoParse does.
func keywordSettings(s string) map[string]string {
	settings := map[string]string{}
	for {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			return settings
		}
		value, rest := keywordValue(strings.TrimLeft(rest, " \t\r\n"))
		settings[strings.TrimSpace(key)] = value
		s = rest
	}
}

// keywordValue reads one value, quoted or not.
func keywordValue(s string) (value, rest string) {
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && s[i] == '\'', !quoted && strings.IndexByte(" \t\r\n", s[i]) >= 0:
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
