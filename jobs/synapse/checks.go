package synapse

import "strings"

// OneTimeKeysTable holds keys that clients upload and that Synapse hands out
// once. A database rolled back would hand them out again, and messages become
// undecryptable: Synapse's documentation says to leave its rows out of backups
// or to empty it before Synapse starts.
const OneTimeKeysTable = "e2e_one_time_keys_json"

// IsSynapse says whether a database with these tables, all in one schema, is a
// Synapse's.
func IsSynapse(tables []string) bool {
	want := map[string]bool{"schema_version": true, OneTimeKeysTable: true}
	for _, t := range tables {
		delete(want, t)
	}
	return len(want) == 0
}

// Check is a question to a Synapse database that must not be running.
type Check struct {
	Name string
	// SQL returns one row: ok boolean, detail text. It runs with Synapse's
	// schema as search_path. A table or column that it names may be missing in
	// older or newer schema versions: then there is nothing to check.
	SQL string
	// Serious: Synapse refuses to start, or breaks its users' data, when it is
	// not so. The others are known to heal, or may have been so in the source.
	Serious bool
}

// Checks returns what must hold in a Synapse database before Synapse starts on
// it. They read only.
func Checks() []Check {
	checks := []Check{
		{"encoding is UTF8", `SELECT current_setting('server_encoding') = 'UTF8', current_setting('server_encoding')`, true},
		{"locale is C", `SELECT datcollate = 'C' AND datctype = 'C', 'LC_COLLATE ' || datcollate || ', LC_CTYPE ' || datctype
			FROM pg_catalog.pg_database WHERE datname = current_database()`, true},
		{"one owner", `SELECT count(DISTINCT tableowner) = 1, 'tables are owned by ' || string_agg(DISTINCT tableowner, ', ')
			FROM pg_catalog.pg_tables WHERE schemaname = current_schema()`, true},
		{"schema version", `SELECT count(*) = 1, count(*) || ' row(s), version ' || coalesce(max(version)::text, 'none') FROM schema_version`, true},
		{"schema compat version", `SELECT count(*) = 1, count(*) || ' row(s), version ' || coalesce(max(compat_version)::text, 'none') FROM schema_compat_version`, true},
		{"one-time keys are emptied", `SELECT count(*) = 0, count(*) || ' row(s) in ` + OneTimeKeysTable + `' FROM ` + OneTimeKeysTable, true},
	}
	for _, s := range sequences {
		checks = append(checks, s.checks()...)
	}
	return append(checks, relations...)
}

// relations are what no foreign key guards. They may have been broken in the
// source as well, so they don't stop a swap: the row counts prove the load.
var relations = []Check{
	{"no event_auth row is doubled", none("doubled row(s) in event_auth: a restore over a live database did that", `FROM
		(SELECT FROM event_auth GROUP BY event_id, auth_id, room_id HAVING count(*) > 1) x`), false},
	{"events have their JSON", none("event(s) without event_json", `FROM events e
		WHERE NOT EXISTS (SELECT FROM event_json j WHERE j.event_id = e.event_id)`), false},
	{"events have a state group", none("event(s) without a state group", `FROM events e
		WHERE NOT outlier AND rejection_reason IS NULL
		AND NOT EXISTS (SELECT FROM event_to_state_groups g WHERE g.event_id = e.event_id)`), false},
	{"current state points at events", none("row(s) of current state without their event", `FROM current_state_events c
		WHERE NOT EXISTS (SELECT FROM events e WHERE e.event_id = c.event_id)`), false},
	{"rooms have a forward extremity", none("room(s) without a forward extremity", `FROM rooms r
		WHERE EXISTS (SELECT FROM current_state_events c WHERE c.room_id = r.room_id)
		AND NOT EXISTS (SELECT FROM event_forward_extremities f WHERE f.room_id = r.room_id)`), false},
}

func none(what, from string) string {
	return "SELECT count(*) = 0, count(*) || ' " + what + "' " + from
}

// sequence ties a sequence to what it numbers. Synapse moves one that is behind
// its table at its start, with a warning; one that is behind the positions
// workers have announced makes it refuse to start.
type sequence struct {
	name   string
	max    []string // each a query of one value
	stream string   // its stream_name in stream_positions, where it has one
}

var sequences = []sequence{
	{"events_stream_seq", []string{"SELECT max(stream_ordering) FROM events"}, "events"},
	{"events_backfill_stream_seq", []string{"SELECT -min(stream_ordering) FROM events"}, "backfill"},
	{"state_group_id_seq", []string{"SELECT max(id) FROM state_groups"}, ""},
	{"event_auth_chain_id", []string{"SELECT max(chain_id) FROM event_auth_chains"}, ""},
	{"receipts_sequence", []string{"SELECT max(stream_id) FROM receipts_linearized"}, "receipts"},
	{"device_lists_sequence", []string{
		"SELECT max(stream_id) FROM device_lists_stream",
		"SELECT max(stream_id) FROM device_lists_outbound_pokes",
		"SELECT max(stream_id) FROM device_lists_changes_in_room",
	}, "device_lists_stream"},
	{"device_inbox_sequence", []string{"SELECT max(stream_id) FROM device_inbox"}, "to_device"},
	{"presence_stream_sequence", []string{"SELECT max(stream_id) FROM presence_stream"}, "presence_stream"},
	{"account_data_sequence", []string{
		"SELECT max(stream_id) FROM room_account_data",
		"SELECT max(stream_id) FROM account_data",
		"SELECT max(stream_id) FROM room_tags_revisions",
	}, "account_data"},
	{"push_rules_stream_sequence", []string{"SELECT max(stream_id) FROM push_rules_stream"}, "push_rules_stream"},
	{"pushers_sequence", []string{
		"SELECT max(id) FROM pushers",
		"SELECT max(stream_id) FROM deleted_pushers",
	}, "pushers"},
	{"e2e_cross_signing_keys_sequence", []string{"SELECT max(stream_id) FROM e2e_cross_signing_keys"}, "e2e_cross_signing_keys"},
	{"cache_invalidation_stream_seq", []string{"SELECT max(stream_id) FROM cache_invalidation_stream_by_instance"}, "caches"},
	{"un_partial_stated_room_stream_sequence", []string{"SELECT max(stream_id) FROM un_partial_stated_room_stream"}, "un_partial_stated_room_stream"},
	{"un_partial_stated_event_stream_sequence", []string{"SELECT max(stream_id) FROM un_partial_stated_event_stream"}, "un_partial_stated_event_stream"},
}

func (s sequence) checks() []Check {
	maxima := "greatest((" + strings.Join(s.max, "), (") + "), 0)"
	checks := []Check{{
		"sequence " + s.name + " is not behind its table",
		"SELECT " + maxima + " <= last_value, 'last value ' || last_value || ', table maximum ' || " + maxima + " FROM " + s.name,
		false,
	}}
	if s.stream == "" {
		return checks
	}
	return append(checks, Check{
		"sequence " + s.name + " is not behind stream_positions",
		"SELECT coalesce(p.pos, 0) <= s.last_value, 'last value ' || s.last_value || ', announced position ' || coalesce(p.pos, 0) FROM " + s.name +
			" s, (SELECT max(stream_id) AS pos FROM stream_positions WHERE stream_name = '" + s.stream + "') p",
		true,
	})
}
