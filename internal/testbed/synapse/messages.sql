-- The next events of the rooms that are there: messages, reactions, and some
-- changed memberships, spread over the rooms, the larger ones more often.
DROP TABLE IF EXISTS gen_new, gen_member, gen_room;
CREATE TEMP TABLE gen_room AS
SELECT row_number() OVER (ORDER BY joined_members DESC, room_id) - 1 AS r, room_id, joined_members AS members, encryption IS NOT NULL AS encrypted, name
FROM room_stats_current JOIN room_stats_state USING (room_id);
CREATE TEMP TABLE gen_member AS
SELECT r.r, row_number() OVER (PARTITION BY r.r ORDER BY hashtext(state_key)) - 1 AS j, state_key AS user_id, state_key LIKE '%:matrix.example.com' AS local,
    initcap(pg_temp.words(state_key, 2)) AS name
FROM current_state_events c JOIN gen_room r USING (room_id) WHERE c.type = 'm.room.member';

CREATE TEMP TABLE gen_new AS
SELECT x.n, x.r, x.type, CASE x.type WHEN 'm.room.member' THEN m.user_id END AS state_key, m.user_id AS sender, m.name
FROM (
    SELECT n, r.r, floor(power(pg_temp.draw(p.seed || n, 2), 2) * r.members)::int AS j,
        CASE WHEN kind < 0.02 THEN 'm.room.member' WHEN kind < 0.08 THEN 'm.reaction' WHEN r.encrypted THEN 'm.room.encrypted' ELSE 'm.room.message' END AS type
    FROM gen_p p, generate_series(1, p.messages) n, LATERAL (SELECT pg_temp.draw(p.seed || n, 3) AS kind) k,
    LATERAL (SELECT * FROM gen_room WHERE gen_room.r = floor(power(pg_temp.draw(p.seed || n, 1), 2) * p.rooms)::int) r) x
JOIN gen_member m ON m.r = x.r AND m.j = x.j;
