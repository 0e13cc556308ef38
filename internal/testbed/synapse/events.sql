-- Writes the events of gen_new (n, r, type, state_key, sender, name) into all
-- tables that tell of events, after those that are there.
DROP TABLE IF EXISTS gen_event, gen_base, gen_key;
CREATE TEMP TABLE gen_base AS SELECT coalesce(max(stream_ordering), 1) AS last, count(*) AS n FROM events;
CREATE TEMP TABLE gen_key AS -- what events of a room are authorised by
SELECT r.r, c.type, c.state_key, c.event_id FROM current_state_events c JOIN gen_room r USING (room_id)
UNION ALL
SELECT r, type, state_key, '$' || pg_temp.hash(seed || b.n || '/' || g.n) FROM gen_new g, gen_base b, gen_p
WHERE b.n = 0 AND state_key IS NOT NULL;
ANALYZE gen_key;
ANALYZE gen_new;
CREATE TEMP TABLE gen_event AS
SELECT g.*, room.room_id, b.last + g.n AS so, p.began_ms + 400 * (b.last + g.n) AS ts, split_part(g.sender, ':', 2) AS server,
    '$' || pg_temp.hash(p.seed || b.n || '/' || g.n) AS event_id,
    coalesce(d.depth, 0) + row_number() OVER w AS depth,
    coalesce(lag('$' || pg_temp.hash(p.seed || b.n || '/' || g.n)) OVER w, d.event_id) AS prev_id,
    CASE g.type WHEN 'm.room.create' THEN '{}' WHEN 'm.room.member' THEN ARRAY[c.event_id, l.event_id] ELSE ARRAY[c.event_id, l.event_id, m.event_id] END AS auth,
    CASE g.type WHEN 'm.room.message' THEN pg_temp.words(p.seed || g.n, 2 + floor(28 * power(pg_temp.draw(p.seed || g.n, 4), 2))::int) END AS body
FROM gen_p p, gen_base b, gen_new g JOIN gen_room room USING (r)
JOIN gen_key c ON c.r = g.r AND c.type = 'm.room.create' JOIN gen_key l ON l.r = g.r AND l.type = 'm.room.power_levels'
JOIN gen_key m ON m.r = g.r AND m.type = 'm.room.member' AND m.state_key = g.sender
LEFT JOIN (SELECT x.room_id, x.event_id, e.depth FROM event_forward_extremities x JOIN events e USING (event_id)) d ON d.room_id = room.room_id
WINDOW w AS (PARTITION BY g.r ORDER BY g.n);
ANALYZE gen_event;

INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier, depth, origin_server_ts, received_ts, sender, contains_url, instance_name, stream_ordering, state_key)
SELECT depth, event_id, type, room_id, true, false, depth, ts, ts + 35, sender, false, 'master', so, state_key FROM gen_event ORDER BY n;
INSERT INTO event_json
SELECT event_id, room_id, CASE server WHEN 'matrix.example.com' THEN format('{"device_id":"%s","txn_id":"m%s.%s"}', upper(left(md5(sender), 10)), ts, n % 9) ELSE '{}' END,
    format('{"auth_events":[%s],"prev_events":[%s],"type":"%s","room_id":"%s","sender":"%s",%s"content":%s,"depth":%s,"origin":"%s","origin_server_ts":%s,"hashes":{"sha256":"%s"},"signatures":{"%s":{"ed25519:a_%s":"%s"}},"unsigned":{"age_ts":%s}}',
        '"' || array_to_string(nullif(auth, '{}'), '","') || '"', '"' || prev_id || '"', type, room_id, sender, '"state_key":"' || state_key || '",',
        CASE type
            WHEN 'm.room.message' THEN format('{"body":"%s","msgtype":"m.text","m.mentions":{}}', body)
            WHEN 'm.room.encrypted' THEN format('{"algorithm":"m.megolm.v1.aes-sha2","ciphertext":"%s","device_id":"%s","sender_key":"%s","session_id":"%s"}',
                (SELECT string_agg(pg_temp.signature(event_id || i), '') FROM generate_series(1, 3 + n % 6) i), upper(left(md5(sender), 10)), pg_temp.hash(sender), pg_temp.hash(sender || n / 200))
            WHEN 'm.reaction' THEN format('{"m.relates_to":{"event_id":"%s","key":"%s","rel_type":"m.annotation"}}', prev_id, chr(128512 + (n % 40)::int))
            WHEN 'm.room.member' THEN format('{"avatar_url":"mxc://%s/%s","displayname":"%s","membership":"join"}', server, left(pg_temp.hash(sender), 24), name)
            WHEN 'm.room.create' THEN '{"room_version":"11"}'
            WHEN 'm.room.power_levels' THEN format('{"ban":50,"events":{"m.room.name":50},"events_default":0,"invite":0,"kick":50,"redact":50,"state_default":50,"users":{"%s":100}}', sender)
            ELSE '{"value":"' || type || '"}' END,
        depth, server, ts, pg_temp.hash('h' || event_id), server, left(md5(server), 4), pg_temp.signature(event_id), ts), 3
FROM gen_event ORDER BY n;
INSERT INTO event_edges (event_id, prev_event_id) SELECT event_id, prev_id FROM gen_event WHERE prev_id IS NOT NULL ORDER BY n;
INSERT INTO event_auth SELECT event_id, a, room_id FROM gen_event, unnest(auth) a ORDER BY n;
INSERT INTO event_relations SELECT event_id, prev_id, 'm.annotation', chr(128512 + (n % 40)::int) FROM gen_event WHERE type = 'm.reaction' ORDER BY n;
INSERT INTO event_search SELECT event_id, room_id, sender, 'content.body', to_tsvector('english', body), ts, so FROM gen_event WHERE body IS NOT NULL ORDER BY n;
INSERT INTO state_events SELECT event_id, room_id, type, state_key FROM gen_event WHERE state_key IS NOT NULL ORDER BY n;
INSERT INTO stream_ordering_to_exterm SELECT so, room_id, event_id FROM gen_event WHERE n % 4 = 0 ORDER BY n;
INSERT INTO current_state_delta_stream SELECT so, room_id, type, state_key, event_id, NULL, 'master' FROM gen_event WHERE state_key IS NOT NULL ORDER BY n;
INSERT INTO event_auth_chains SELECT event_id, (SELECT last_value FROM event_auth_chain_id) + row_number() OVER (ORDER BY n), 1 FROM gen_event WHERE state_key IS NOT NULL;
INSERT INTO event_push_actions (room_id, event_id, user_id, actions, topological_ordering, stream_ordering, notif, highlight, unread, thread_id)
SELECT e.room_id, e.event_id, m.user_id, '["notify",{"set_tweak":"highlight","value":false}]', e.depth, e.so, 1, 0, 1, 'main'
FROM gen_event e JOIN (SELECT *, row_number() OVER (PARTITION BY r ORDER BY user_id) AS k FROM gen_member WHERE local) m ON m.r = e.r AND m.k <= 3 AND m.user_id <> e.sender
WHERE e.state_key IS NULL AND e.n % 5 = 0 ORDER BY e.n;

-- Current state: the newest event of each key takes the place of an older one.
CREATE TEMP TABLE gen_state AS SELECT DISTINCT ON (r, type, state_key) * FROM gen_event WHERE state_key IS NOT NULL ORDER BY r, type, state_key, n DESC;
DELETE FROM current_state_events c USING gen_state s WHERE c.room_id = s.room_id AND c.type = s.type AND c.state_key = s.state_key;
DELETE FROM local_current_membership c USING gen_state s WHERE c.room_id = s.room_id AND s.type = 'm.room.member' AND c.user_id = s.state_key;
INSERT INTO current_state_events SELECT event_id, room_id, type, state_key, CASE type WHEN 'm.room.member' THEN 'join' END, so FROM gen_state ORDER BY n;
INSERT INTO local_current_membership SELECT room_id, state_key, event_id, 'join', so FROM gen_state WHERE type = 'm.room.member' AND server = 'matrix.example.com' ORDER BY n;
INSERT INTO room_memberships
SELECT event_id, state_key, sender, room_id, 'join', 0, name, format('mxc://%s/%s', server, left(pg_temp.hash(sender), 24)), so, true FROM gen_event WHERE type = 'm.room.member' ORDER BY n;
DROP TABLE gen_state;
DELETE FROM event_forward_extremities x USING (SELECT DISTINCT room_id FROM gen_event) e WHERE x.room_id = e.room_id;
INSERT INTO event_forward_extremities SELECT DISTINCT ON (r) event_id, room_id FROM gen_event ORDER BY r, n DESC;
SELECT setval('events_stream_seq', (SELECT max(stream_ordering) FROM events)), setval('event_auth_chain_id', (SELECT max(chain_id) FROM event_auth_chains));
