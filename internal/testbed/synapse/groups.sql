-- State groups for the events after gen_p.events_before, and what else moves
-- with them: receipts, device lists, federation. Then sequences and positions.
--
-- A chain is a full state and three groups that differ from it by one row: what
-- Synapse writes at every hundredth difference, and whenever a room forks.
-- How a room's chains lie among those of others decides how far the rows
-- compress. Bursts of three were chosen so that the whole dump comes to about a
-- fifth at zstd level 1 (measured: 21 %); spread evenly it was 29 %. It is a
-- setting of this generator, not a measurement of a homeserver.
CREATE TEMP TABLE gen_group AS
SELECT (SELECT last_value FROM state_group_id_seq) + row_number() OVER (ORDER BY (s / 12 * 12)::float8 / n, r, s) AS id, r, room_id, s, s % 4 = 0 AS is_full, n
FROM (SELECT r.r, r.room_id, 4 * greatest(1, (p.state_rows / p.rooms / (r.members + 5))::int) AS n FROM gen_p p, gen_room r) x, generate_series(0, n - 1) s;
CREATE INDEX ON gen_group (r, s);
-- The order of a room's rows differs between full states, as it does in Synapse.
CREATE TEMP TABLE gen_state AS
SELECT r, type, state_key, event_id, row_number() OVER (PARTITION BY r ORDER BY hashtext(event_id)) - 1 AS k FROM current_state_events JOIN gen_room USING (room_id);
CREATE UNIQUE INDEX ON gen_state (r, k);
ANALYZE gen_group;
ANALYZE gen_state;

INSERT INTO state_groups SELECT g.id, g.room_id, s.event_id FROM gen_group g JOIN gen_state s ON s.r = g.r AND s.type = 'm.room.create' ORDER BY g.id;
INSERT INTO state_group_edges SELECT g.id, q.id FROM gen_group g JOIN gen_group q ON q.r = g.r AND q.s = g.s - 1 WHERE NOT g.is_full ORDER BY 1;
-- A nested loop keeps the order of the groups, which is that of a server's
-- disk; other joins would put equal rows side by side and compress too well.
SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off; SET enable_seqscan = off; SET enable_material = off; SET enable_memoize = off; SET enable_sort = off;
INSERT INTO state_groups_state
SELECT g.id, g.room_id, s.type, s.state_key, s.event_id
FROM (SELECT * FROM gen_group ORDER BY id OFFSET 0) g, LATERAL (SELECT * FROM gen_state s WHERE s.r = g.r AND (g.is_full OR s.k = g.s % 8) OFFSET 0) s;
RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_bitmapscan; RESET enable_seqscan; RESET enable_material; RESET enable_memoize; RESET enable_sort;
INSERT INTO event_to_state_groups
SELECT e.event_id, g.id
FROM (SELECT e.*, r.r, (row_number() OVER w - 1)::float8 / count(*) OVER (PARTITION BY room_id) AS f
      FROM gen_p p, events e JOIN gen_room r USING (room_id) WHERE stream_ordering > p.events_before WINDOW w AS (PARTITION BY room_id ORDER BY stream_ordering)) e
JOIN (SELECT DISTINCT r, n FROM gen_group) c USING (r) JOIN gen_group g ON g.r = e.r AND g.s = floor(c.n * e.f) ORDER BY e.stream_ordering;

-- Receipts move: a row that is there is updated in its place.
CREATE TEMP TABLE gen_receipt AS
SELECT (SELECT last_value FROM receipts_sequence) + row_number() OVER () AS id, m.user_id, x.room_id, x.event_id, e.stream_ordering AS so, e.origin_server_ts AS ts
FROM gen_p p, gen_member m JOIN gen_room r USING (r) JOIN event_forward_extremities x USING (room_id) JOIN events e USING (event_id)
WHERE p.events_before = 0 OR m.local;
UPDATE receipts_linearized l SET stream_id = g.id, event_id = g.event_id, event_stream_ordering = g.so, data = format('{"ts":%s}', g.ts)
FROM gen_receipt g WHERE l.room_id = g.room_id AND l.user_id = g.user_id;
INSERT INTO receipts_linearized
SELECT g.id, g.room_id, 'm.read', g.user_id, g.event_id, format('{"ts":%s}', g.ts), 'master', g.so FROM gen_receipt g
WHERE NOT EXISTS (SELECT FROM receipts_linearized l WHERE l.room_id = g.room_id AND l.user_id = g.user_id) ORDER BY g.id;
INSERT INTO receipts_graph
SELECT g.room_id, 'm.read', g.user_id, format('["%s"]', g.event_id), format('{"ts":%s}', g.ts) FROM gen_receipt g
WHERE NOT EXISTS (SELECT FROM receipts_graph l WHERE l.room_id = g.room_id AND l.user_id = g.user_id) ORDER BY g.id;

INSERT INTO received_transactions (transaction_id, origin, ts, response_code, response_json)
SELECT p.seed || i, format('hs%s.example.org', i % 300), p.began_ms + 500 * i, 200, format('{"pdus":{"$%s":{}}}', pg_temp.hash('tx' || p.seed || i))::bytea FROM gen_p p, generate_series(1, p.federation) i;
INSERT INTO device_lists_stream
SELECT p.devices_before + i, u.user_id, upper(left(md5(u.user_id || 1 + i % 3), 10)), 'master'
FROM gen_p p, generate_series(1, p.federation / 2) i JOIN (SELECT row_number() OVER (ORDER BY name) - 1 AS n, count(*) OVER () AS all_users, name AS user_id FROM users) u ON u.n = i % u.all_users ORDER BY i;
INSERT INTO device_lists_outbound_pokes
SELECT format('hs%s.example.org', (i * 11) % 300), p.devices_before + 1 + i / 30, u.name, upper(left(md5(u.name || 1), 10)), i % 50 > 0, p.began_ms + 500 * i, NULL, 'master'
FROM gen_p p, (SELECT min(name) AS name FROM users) u, generate_series(1, p.federation) i;
INSERT INTO device_lists_changes_in_room
SELECT m.user_id, upper(left(md5(m.user_id || 1), 10)), r.room_id, p.devices_before + row_number() OVER (), true, '{}', 'master', p.began_ms FROM gen_p p, gen_member m JOIN gen_room r USING (r) WHERE m.local;
INSERT INTO cache_invalidation_stream_by_instance
SELECT (SELECT last_value FROM cache_invalidation_stream_seq) + i, 'master', 'get_user_by_id', ARRAY['@user' || i || ':matrix.example.com'], p.began_ms + i FROM gen_p p, generate_series(1, greatest(1, p.federation / 10)) i;
UPDATE devices SET last_seen = last_seen + 86400000 FROM gen_p p WHERE p.events_before > 0 AND abs(hashtext(user_id)) % 10 = 0;
UPDATE room_stats_current SET completed_delta_stream_id = (SELECT last_value FROM events_stream_seq);

SELECT setval(s, greatest(v, 1)) FROM (VALUES
    ('state_group_id_seq', (SELECT max(id) FROM state_groups)), ('receipts_sequence', (SELECT max(stream_id) FROM receipts_linearized)),
    ('device_lists_sequence', (SELECT greatest((SELECT max(stream_id) FROM device_lists_stream), (SELECT max(stream_id) FROM device_lists_outbound_pokes), (SELECT max(stream_id) FROM device_lists_changes_in_room)))),
    ('device_inbox_sequence', (SELECT max(stream_id) FROM device_inbox)), ('presence_stream_sequence', (SELECT max(stream_id) FROM presence_stream)),
    ('account_data_sequence', (SELECT max(stream_id) FROM account_data)), ('pushers_sequence', (SELECT max(id) FROM pushers)), ('user_id_seq', (SELECT count(*) FROM users)),
    ('e2e_cross_signing_keys_sequence', (SELECT max(stream_id) FROM e2e_cross_signing_keys)),
    ('cache_invalidation_stream_seq', (SELECT max(stream_id) FROM cache_invalidation_stream_by_instance))) x(s, v);
UPDATE stream_positions p SET stream_id = q.last_value FROM pg_sequences q, (VALUES
    ('events', 'events_stream_seq'), ('receipts', 'receipts_sequence'), ('device_lists_stream', 'device_lists_sequence'), ('to_device', 'device_inbox_sequence'),
    ('presence_stream', 'presence_stream_sequence'), ('account_data', 'account_data_sequence'), ('pushers', 'pushers_sequence'),
    ('e2e_cross_signing_keys', 'e2e_cross_signing_keys_sequence'), ('caches', 'cache_invalidation_stream_seq')) s(stream, seq)
WHERE p.stream_name = s.stream AND q.sequencename = s.seq AND q.schemaname = current_schema();
SELECT setval('events_backfill_stream_seq', 1), setval('push_rules_stream_sequence', 1), setval('un_partial_stated_room_stream_sequence', 1), setval('un_partial_stated_event_stream_sequence', 1);
