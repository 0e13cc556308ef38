-- People, their devices and keys, rooms, and each room's first state. Reads
-- the size from the setting testbed.scale.
CREATE TEMP TABLE gen_p AS
SELECT 'first'::text AS seed, s AS scale, greatest(4, round(20 * s))::int AS rooms,
    greatest(60, 3000 * sqrt(least(1, s)))::int AS largest, -- members of the largest room
    greatest(60, round(220 * s))::int AS locals, greatest(120, 6000 * sqrt(least(1, s)), round(12000 * s))::int AS remotes,
    round(75000 * s)::int AS messages, round(2150000 * s)::bigint AS state_rows, round(60000 * s)::int AS federation,
    0::bigint AS events_before, 0::bigint AS devices_before, 0::bigint AS receipts_before,
    1760000000000::bigint AS began_ms -- of this script's events, in Unix milliseconds
FROM (SELECT current_setting('testbed.scale')::float8 AS s) x;

CREATE TEMP TABLE gen_user AS
SELECT n, true AS local, format('@%s%s:matrix.example.com', pg_temp.words('l' || n, 1), n) AS user_id, initcap(pg_temp.words('n' || n, 2)) AS name
FROM gen_p, generate_series(0, locals - 1) n
UNION ALL
SELECT n, false, format('@%s%s:hs%s.example.org', pg_temp.words('r' || n, 1), n, n % 300), initcap(pg_temp.words('m' || n, 2))
FROM gen_p, generate_series(0, remotes - 1) n;

INSERT INTO schema_version (version, upgraded) VALUES (94, true);
INSERT INTO schema_compat_version (compat_version) VALUES (84);
INSERT INTO applied_schema_deltas SELECT v, format('%s/%s_%s.sql', v, lpad(i::text, 2, '0'), pg_temp.words(v || '/' || i, 1)) FROM generate_series(73, 94) v, generate_series(1, 6) i;
INSERT INTO stream_positions
SELECT s, 'master', 1 FROM unnest(ARRAY['events', 'backfill', 'receipts', 'device_lists_stream', 'to_device', 'presence_stream', 'account_data',
    'push_rules_stream', 'pushers', 'e2e_cross_signing_keys', 'caches', 'un_partial_stated_room_stream', 'un_partial_stated_event_stream']) s;

INSERT INTO users (name, password_hash, creation_ts, admin, shadow_banned, approved)
SELECT user_id, '$2b$12$' || left(pg_temp.signature(user_id), 53), began_ms / 1000 - 3600 * n, (n = 0)::int, false, true FROM gen_user, gen_p WHERE local;
INSERT INTO profiles (user_id, displayname, full_user_id, fields)
SELECT split_part(substr(user_id, 2), ':', 1), name, user_id, jsonb_build_object('m.tz', 'Europe/Zurich') FROM gen_user WHERE local;
INSERT INTO devices (user_id, device_id, display_name, last_seen, ip, user_agent)
SELECT user_id, upper(left(md5(user_id || d), 10)), 'Element X', began_ms - 60000 * n, '192.0.2.' || n % 250, 'Mozilla/5.0 (X11; Linux x86_64) Element/1.11.' || d
FROM gen_user, gen_p, generate_series(1, 3) d WHERE local;
INSERT INTO access_tokens (id, user_id, device_id, token, last_validated, used)
SELECT row_number() OVER (), user_id, device_id, 'syt_' || left(pg_temp.hash(user_id || device_id), 34), began_ms, true FROM devices, gen_p;
INSERT INTO user_ips
SELECT a.user_id, a.token, a.device_id, format('198.51.%s.%s', i, a.id % 250), 'Mozilla/5.0 (X11; Linux x86_64) Element/1.11.' || i, began_ms - 90000 * i
FROM access_tokens a, gen_p, generate_series(1, 4) i;
INSERT INTO e2e_device_keys_json
SELECT user_id, device_id, began_ms, json_build_object('algorithms', ARRAY['m.olm.v1.curve25519-aes-sha2', 'm.megolm.v1.aes-sha2'], 'device_id', device_id, 'keys',
    json_build_object('curve25519:' || device_id, pg_temp.hash(device_id), 'ed25519:' || device_id, pg_temp.hash(device_id || 2)), 'user_id', user_id) FROM devices, gen_p;
INSERT INTO e2e_one_time_keys_json
SELECT user_id, device_id, 'signed_curve25519', 'AAAA' || k, began_ms, json_build_object('key', pg_temp.hash(device_id || k), 'signatures',
    json_build_object(user_id, json_build_object('ed25519:' || device_id, pg_temp.signature(device_id || k)))) FROM devices, gen_p, generate_series(1, 20) k;
INSERT INTO e2e_cross_signing_keys
SELECT user_id, k, json_build_object('usage', ARRAY[k], 'user_id', user_id, 'keys', json_build_object('ed25519', pg_temp.hash(user_id || k))), row_number() OVER (), 'master'
FROM gen_user, unnest(ARRAY['master', 'self_signing', 'user_signing']) k WHERE local;
INSERT INTO account_data
SELECT user_id, t, row_number() OVER (), json_build_object('content', pg_temp.words(user_id || t, 20)), 'master' FROM gen_user, unnest(ARRAY['m.direct', 'im.vector.setting']) t WHERE local;
INSERT INTO presence_stream SELECT row_number() OVER (), user_id, CASE n % 3 WHEN 0 THEN 'online' ELSE 'offline' END, began_ms - n, NULL, n % 3 = 0, 'master' FROM gen_user, gen_p WHERE local;
INSERT INTO pushers SELECT row_number() OVER (), user_id, 'http', 'im.vector.app', pg_temp.hash(user_id || 'push'), began_ms, '{"url":"https://push.example.org"}', true, NULL FROM gen_user, gen_p WHERE local;
INSERT INTO device_inbox
SELECT d.user_id, d.device_id, row_number() OVER (), json_build_object('type', 'm.room.encrypted', 'content', json_build_object('ciphertext', pg_temp.signature(d.device_id || i) || pg_temp.signature(i || d.device_id))), 'master'
FROM devices d, generate_series(1, 4) i;
INSERT INTO local_media_repository (media_id, media_type, media_length, created_ts, upload_name, user_id, last_access_ts, authenticated, sha256)
SELECT left(pg_temp.hash('media' || n || '/' || i), 24), 'image/jpeg', 50000 + 997 * i, began_ms - 1000 * i, pg_temp.words(n || '/' || i, 1) || '.jpg', user_id, began_ms, true,
    CASE WHEN i > 1 THEN encode(sha256((n || '/' || i)::bytea), 'hex') END FROM gen_user, gen_p, generate_series(1, 10) i WHERE local;
INSERT INTO remote_media_cache (media_origin, media_id, media_type, created_ts, upload_name, media_length, filesystem_id, last_access_ts, authenticated, sha256)
SELECT split_part(user_id, ':', 2), left(pg_temp.hash('avatar' || n), 24), 'image/png', began_ms - 1000 * n, 'avatar.png', 20000 + n, left(pg_temp.hash('fs' || n), 24), began_ms, true,
    encode(sha256(n::text::bytea), 'hex') FROM gen_user, gen_p WHERE NOT local;
INSERT INTO device_lists_remote_cache
SELECT u.user_id, d.id, json_build_object('device_id', d.id, 'keys', json_build_object('curve25519:' || d.id, pg_temp.hash(d.id), 'ed25519:' || d.id, pg_temp.hash(d.id || 2)),
    'signatures', json_build_object('ed25519:' || d.id, pg_temp.signature(d.id)), 'user_id', u.user_id)
FROM gen_user u, generate_series(1, 3) k, LATERAL (SELECT upper(left(md5(u.user_id || k), 10)) AS id) d WHERE NOT u.local;
INSERT INTO destinations (destination, retry_last_ts, retry_interval) SELECT format('hs%s.example.org', i), 0, 0 FROM generate_series(0, 299) i;

-- A few rows in each small table. jsonb, inet, bytea and timestamps in them.
DO $$
DECLARE t text;
BEGIN
    FOR t IN
        SELECT c.relname FROM pg_class c WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
        AND (SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)::text IN
            ('{user_id,kind,content,ts}', '{room_id,event_id,stream_id,enabled}', '{destination,ts_added_ms,content}', '{id,user_id,extra,address,expires}')
    LOOP
        EXECUTE format('INSERT INTO %I SELECT %s FROM gen_user WHERE local AND n < 40', t,
            CASE (SELECT attname FROM pg_attribute WHERE attrelid = t::regclass AND attnum = 1)
            WHEN 'user_id' THEN $q$ user_id, 'kind ' || n, E'tab\t back\\slash, "quotes" and \u00fcml\u00e4uts\n' || n, 1760000000000 + n $q$
            WHEN 'room_id' THEN $q$ '!' || n, '$' || pg_temp.hash(n::text), nullif(n, 3), n % 2 = 0 $q$
            WHEN 'destination' THEN $q$ format('hs%s.example.org', n), n, sha256(n::text::bytea) $q$
            ELSE $q$ n, user_id, jsonb_build_object('n', n, 'name', name), '192.0.2.1'::inet + n, timestamptz '2026-01-01 UTC' + n * interval '1 hour' $q$ END);
    END LOOP;
END $$;

CREATE TEMP TABLE gen_room AS
SELECT r, '!' || left(translate(pg_temp.hash('room' || r), '-_0123456789', 'abcdefghijkl'), 18) || ':matrix.example.com' AS room_id,
    greatest(8, largest * power(1 + r % 20, -1.1))::int AS members, r % 5 < 2 AS encrypted, initcap(pg_temp.words('room' || r, 3)) AS name
FROM gen_p, generate_series(0, rooms - 1) r;
-- Every twentieth member is local, the first always; nobody twice in a room.
CREATE TEMP TABLE gen_member AS
SELECT r.r, j, u.user_id, u.local, u.name FROM gen_p p, gen_room r, generate_series(0, r.members - 1) j JOIN gen_user u ON true
WHERE u.local = (j % 20 = 0) AND u.n = CASE WHEN j % 20 = 0 THEN (r.r * 13 + j / 20) % p.locals ELSE (r.r * 577 + j) % p.remotes END;

INSERT INTO rooms SELECT r.room_id, r.r % 7 = 0, m.user_id, '11', true FROM gen_room r JOIN gen_member m ON m.r = r.r AND m.j = 0;
INSERT INTO room_depth SELECT room_id, 1 FROM gen_room;
INSERT INTO room_stats_state (room_id, name, join_rules, history_visibility, encryption, is_federatable)
SELECT room_id, name, 'invite', 'shared', CASE WHEN encrypted THEN 'm.megolm.v1.aes-sha2' END, true FROM gen_room;
INSERT INTO room_stats_current SELECT room_id, members + 5, members, (members + 19) / 20, 0 FROM gen_room;

CREATE TEMP TABLE gen_new AS
SELECT row_number() OVER (ORDER BY r, k) AS n, r, type, state_key, sender, name
FROM (
    SELECT r, CASE type WHEN 'm.room.create' THEN 0 ELSE 1.5 END AS k, type, '' AS state_key, user_id AS sender, name
    FROM gen_member, unnest(ARRAY['m.room.create', 'm.room.power_levels', 'm.room.join_rules', 'm.room.history_visibility', 'm.room.name']) type WHERE j = 0
    UNION ALL
    SELECT r, CASE j WHEN 0 THEN 1 ELSE 2 + j END, 'm.room.member', user_id, user_id, name FROM gen_member) x;
