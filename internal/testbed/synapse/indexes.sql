-- Constraints, indexes and triggers, with Synapse's names where one of its
-- main tables has them.

ALTER TABLE schema_version ADD CONSTRAINT schema_version_lock_key UNIQUE (lock);
ALTER TABLE schema_compat_version ADD CONSTRAINT schema_compat_version_lock_key UNIQUE (lock);
ALTER TABLE applied_schema_deltas ADD UNIQUE (version, file);
ALTER TABLE background_updates ADD UNIQUE (update_name);
CREATE UNIQUE INDEX stream_positions_idx ON stream_positions (stream_name, instance_name);

ALTER TABLE users ADD CONSTRAINT users_name_key UNIQUE (name);
CREATE INDEX users_creation_ts ON users (creation_ts);
ALTER TABLE profiles ADD UNIQUE (user_id);
CREATE UNIQUE INDEX profiles_full_user_id_key ON profiles (full_user_id);
ALTER TABLE devices ADD CONSTRAINT device_uniqueness UNIQUE (user_id, device_id);
ALTER TABLE access_tokens ADD PRIMARY KEY (id), ADD UNIQUE (token);
CREATE INDEX access_tokens_device_id ON access_tokens (user_id, device_id);
CREATE UNIQUE INDEX user_ips_user_token_ip_unique_index ON user_ips (user_id, access_token, ip);
CREATE INDEX user_ips_device_id ON user_ips (user_id, device_id, last_seen);
CREATE INDEX user_ips_last_seen_only ON user_ips (last_seen);
ALTER TABLE account_data ADD UNIQUE (user_id, account_data_type);
CREATE INDEX account_data_stream_id ON account_data (user_id, stream_id);
ALTER TABLE room_account_data ADD UNIQUE (user_id, room_id, account_data_type);
CREATE INDEX room_account_data_stream_id ON room_account_data (user_id, stream_id);
ALTER TABLE room_tags_revisions ADD UNIQUE (user_id, room_id);
CREATE INDEX presence_stream_id ON presence_stream (stream_id, user_id);
CREATE INDEX presence_stream_state_not_offline_idx ON presence_stream (state) WHERE state <> 'offline';
CREATE INDEX push_rules_stream_id ON push_rules_stream (stream_id);
ALTER TABLE pushers ADD PRIMARY KEY (id), ADD UNIQUE (app_id, pushkey, user_name);
CREATE INDEX deleted_pushers_stream_id ON deleted_pushers (stream_id);

ALTER TABLE e2e_one_time_keys_json ADD CONSTRAINT e2e_one_time_keys_json_uniqueness UNIQUE (user_id, device_id, algorithm, key_id);
CREATE INDEX e2e_one_time_keys_json_added ON e2e_one_time_keys_json (user_id, device_id, algorithm, ts_added_ms);
ALTER TABLE e2e_device_keys_json ADD UNIQUE (user_id, device_id);
CREATE UNIQUE INDEX e2e_cross_signing_keys_idx ON e2e_cross_signing_keys (user_id, keytype, stream_id);
CREATE UNIQUE INDEX e2e_cross_signing_keys_stream_idx ON e2e_cross_signing_keys (stream_id);
CREATE INDEX device_inbox_stream_id_user_id ON device_inbox (stream_id, user_id);
CREATE INDEX device_inbox_user_stream_id ON device_inbox (user_id, device_id, stream_id);
CREATE INDEX device_lists_stream_id ON device_lists_stream (stream_id, user_id);
CREATE INDEX device_lists_stream_user_id ON device_lists_stream (user_id, device_id);
CREATE INDEX device_lists_outbound_pokes_id ON device_lists_outbound_pokes (destination, stream_id);
CREATE INDEX device_lists_outbound_pokes_stream ON device_lists_outbound_pokes (stream_id);
CREATE INDEX device_lists_outbound_pokes_user ON device_lists_outbound_pokes (destination, user_id);
CREATE UNIQUE INDEX device_lists_changes_in_stream_id ON device_lists_changes_in_room (stream_id, room_id);
CREATE INDEX device_lists_changes_in_room_by_room_idx ON device_lists_changes_in_room (room_id, stream_id);
CREATE UNIQUE INDEX device_lists_remote_cache_unique_id ON device_lists_remote_cache (user_id, device_id);

ALTER TABLE local_media_repository ADD UNIQUE (media_id);
CREATE INDEX local_media_repository_sha256 ON local_media_repository (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX local_media_repository_url_idx ON local_media_repository (created_ts) WHERE url_cache IS NOT NULL;
CREATE INDEX users_have_local_media ON local_media_repository (user_id, created_ts);
ALTER TABLE remote_media_cache ADD UNIQUE (media_origin, media_id);
CREATE INDEX remote_media_cache_sha256 ON remote_media_cache (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX local_media_repository_thumbnails_media_id ON local_media_repository_thumbnails (media_id);
ALTER TABLE local_media_repository_thumbnails ADD CONSTRAINT local_media_repository_thumbn_media_id_width_height_method_key
    UNIQUE (media_id, thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method);
ALTER TABLE remote_media_cache_thumbnails ADD CONSTRAINT remote_media_repository_thumbn_media_origin_id_width_height_met
    UNIQUE (media_origin, media_id, thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method);

ALTER TABLE rooms ADD CONSTRAINT rooms_pkey PRIMARY KEY (room_id);
CREATE INDEX public_room_index ON rooms (is_public);
ALTER TABLE room_depth ADD UNIQUE (room_id);
CREATE UNIQUE INDEX room_stats_state_room ON room_stats_state (room_id);
ALTER TABLE room_stats_current ADD PRIMARY KEY (room_id);
ALTER TABLE room_memberships ADD UNIQUE (event_id);
CREATE INDEX room_membership_user_room_idx ON room_memberships (user_id, room_id);
CREATE INDEX room_memberships_room_id ON room_memberships (room_id);
CREATE INDEX room_memberships_stream_ordering_idx ON room_memberships (event_stream_ordering);
CREATE INDEX room_memberships_user_room_forgotten ON room_memberships (user_id, room_id) WHERE forgotten = 1;
CREATE UNIQUE INDEX local_current_membership_idx ON local_current_membership (user_id, room_id);
CREATE INDEX local_current_membership_room_idx ON local_current_membership (room_id);
ALTER TABLE current_state_events ADD UNIQUE (event_id), ADD UNIQUE (room_id, type, state_key);
CREATE INDEX current_state_events_member_index ON current_state_events (state_key) WHERE type = 'm.room.member';
CREATE INDEX current_state_events_stream_ordering_idx ON current_state_events (event_stream_ordering);
CREATE INDEX current_state_delta_stream_idx ON current_state_delta_stream (stream_id);
CREATE INDEX current_state_delta_stream_room_idx ON current_state_delta_stream (room_id, stream_id);

ALTER TABLE events ADD CONSTRAINT events_event_id_key UNIQUE (event_id);
CREATE UNIQUE INDEX events_stream_ordering ON events (stream_ordering);
CREATE INDEX events_order_room ON events (room_id, topological_ordering, stream_ordering);
CREATE INDEX events_room_stream ON events (room_id, stream_ordering);
CREATE INDEX events_ts ON events (origin_server_ts, stream_ordering);
CREATE INDEX events_jump_to_date_idx ON events (room_id, origin_server_ts) WHERE NOT outlier;
CREATE INDEX event_contains_url_index ON events (room_id, topological_ordering, stream_ordering) WHERE contains_url AND NOT outlier;
CREATE INDEX received_ts_idx ON events (received_ts) WHERE type = 'm.room.member';
ALTER TABLE event_json ADD CONSTRAINT event_json_event_id_key UNIQUE (event_id);
CREATE UNIQUE INDEX event_edges_event_id_prev_event_id_idx ON event_edges (event_id, prev_event_id);
CREATE INDEX ev_edges_prev_id ON event_edges (prev_event_id);
CREATE INDEX evauth_edges_id ON event_auth (event_id);
ALTER TABLE event_auth_chains ADD PRIMARY KEY (event_id);
CREATE UNIQUE INDEX event_auth_chains_c_seq_index ON event_auth_chains (chain_id, sequence_number);
CREATE INDEX event_auth_chain_links_idx ON event_auth_chain_links (origin_chain_id, target_chain_id);
ALTER TABLE event_forward_extremities ADD UNIQUE (event_id, room_id);
CREATE INDEX ev_extrem_id ON event_forward_extremities (event_id);
CREATE INDEX ev_extrem_room ON event_forward_extremities (room_id);
CREATE UNIQUE INDEX event_relations_id ON event_relations (event_id);
CREATE INDEX event_relations_relates ON event_relations (relates_to_id, relation_type, aggregation_key);
CREATE UNIQUE INDEX event_search_event_id_idx ON event_search (event_id);
CREATE INDEX event_search_ev_ridx ON event_search (room_id);
CREATE INDEX event_search_fts_idx ON event_search USING gin (vector);
ALTER TABLE event_push_actions ADD CONSTRAINT event_id_user_id_profile_tag_uniqueness UNIQUE (room_id, event_id, user_id, profile_tag);
CREATE INDEX event_push_actions_rm_tokens ON event_push_actions (user_id, room_id, topological_ordering, stream_ordering);
CREATE INDEX event_push_actions_stream_ordering ON event_push_actions (stream_ordering, user_id);
CREATE INDEX event_push_actions_highlights_index ON event_push_actions (user_id, room_id, topological_ordering, stream_ordering) WHERE highlight = 1;
CREATE INDEX event_push_actions_u_highlight ON event_push_actions (user_id, stream_ordering);
ALTER TABLE state_events ADD UNIQUE (event_id);
CREATE INDEX stream_ordering_to_exterm_idx ON stream_ordering_to_exterm (stream_ordering);
CREATE INDEX stream_ordering_to_exterm_rm_idx ON stream_ordering_to_exterm (room_id, stream_ordering);
ALTER TABLE receipts_linearized ADD CONSTRAINT receipts_linearized_uniqueness_thread UNIQUE (room_id, receipt_type, user_id, thread_id);
CREATE UNIQUE INDEX receipts_linearized_unique_index ON receipts_linearized (room_id, receipt_type, user_id) WHERE thread_id IS NULL;
CREATE INDEX receipts_linearized_id ON receipts_linearized (stream_id);
CREATE INDEX receipts_linearized_event_id ON receipts_linearized (room_id, event_id);
CREATE INDEX receipts_linearized_user ON receipts_linearized (user_id);
CREATE UNIQUE INDEX receipts_graph_unique_index ON receipts_graph (room_id, receipt_type, user_id) WHERE thread_id IS NULL;

ALTER TABLE state_groups ADD CONSTRAINT state_groups_pkey PRIMARY KEY (id);
CREATE INDEX state_groups_room_id_idx ON state_groups (room_id);
CREATE UNIQUE INDEX state_group_edges_unique_idx ON state_group_edges (state_group, prev_state_group);
CREATE INDEX state_group_edges_prev_idx ON state_group_edges (prev_state_group);
CREATE INDEX state_groups_state_type_idx ON state_groups_state (state_group, type, state_key);
ALTER TABLE event_to_state_groups ADD CONSTRAINT event_to_state_groups_event_id_key UNIQUE (event_id);
CREATE INDEX event_to_state_groups_sg_index ON event_to_state_groups (state_group);

ALTER TABLE destinations ADD PRIMARY KEY (destination);
ALTER TABLE received_transactions ADD UNIQUE (transaction_id, origin);
CREATE INDEX received_transactions_ts ON received_transactions (ts);
CREATE UNIQUE INDEX cache_invalidation_stream_by_instance_id ON cache_invalidation_stream_by_instance (stream_id);
ALTER TABLE un_partial_stated_room_stream ADD PRIMARY KEY (stream_id);
ALTER TABLE un_partial_stated_event_stream ADD PRIMARY KEY (stream_id);
ALTER TABLE state_groups_pending_deletion ADD PRIMARY KEY (sequence_number);
ALTER TABLE sliding_sync_connections ADD PRIMARY KEY (connection_key);

-- Two to three indexes on each small table.
DO $$
DECLARE t record;
BEGIN
    FOR t IN
        SELECT c.relname AS name, (SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) AS cols
        FROM pg_class c WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
        AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid) ORDER BY 1
    LOOP
        EXECUTE format('CREATE INDEX ON %I (%I)', t.name, t.cols[2]);
        IF t.cols[1] <> 'destination' THEN
            EXECUTE format('ALTER TABLE %I ADD UNIQUE (%I, %I)', t.name, t.cols[1], t.cols[2]);
        END IF;
        IF 'enabled' = ANY (t.cols) THEN
            EXECUTE format('CREATE INDEX ON %I (stream_id) WHERE enabled', t.name);
        END IF;
    END LOOP;
END $$;

ALTER TABLE event_edges ADD CONSTRAINT event_edges_event_id_fkey FOREIGN KEY (event_id) REFERENCES events (event_id);
ALTER TABLE event_forward_extremities ADD CONSTRAINT event_forward_extremities_event_id FOREIGN KEY (event_id) REFERENCES events (event_id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE un_partial_stated_room_stream ADD FOREIGN KEY (room_id) REFERENCES rooms (room_id) ON DELETE CASCADE;
ALTER TABLE un_partial_stated_event_stream ADD FOREIGN KEY (event_id) REFERENCES events (event_id) ON DELETE CASCADE;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['current_state_events', 'room_memberships', 'local_current_membership'] LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT event_stream_ordering_fkey FOREIGN KEY (event_stream_ordering) REFERENCES events (stream_ordering) NOT VALID', t);
        EXECUTE format('CREATE TRIGGER check_event_stream_ordering BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION check_event_stream_ordering()', t);
    END LOOP;
END $$;
