-- How much to add to a filled database: testbed.percent of its events, state
-- and federation, as Synapse would, at the ends of the tables, with a few rows
-- updated in their places.
CREATE TEMP TABLE gen_p AS
SELECT 'grown' || last AS seed, (SELECT count(*) FROM rooms)::int AS rooms,
    greatest(10, share * (SELECT count(*) FROM events WHERE state_key IS NULL))::int AS messages,
    greatest(100, share * (SELECT count(*) FROM state_groups_state))::bigint AS state_rows,
    greatest(10, share * (SELECT count(*) FROM received_transactions))::int AS federation,
    last AS events_before, (SELECT last_value FROM device_lists_sequence) AS devices_before,
    1760000000000::bigint AS began_ms
FROM (SELECT current_setting('testbed.percent')::float8 / 100 AS share, max(stream_ordering) AS last FROM events) x;
