-- Tables, sequences and functions of a database shaped like Synapse's: the
-- names, columns and types that the checks, the dump and the load meet. Indexes
-- and constraints follow in indexes.sql, when the rows are there.

CREATE TABLE schema_version (lock char(1) NOT NULL DEFAULT 'X' CHECK (lock = 'X'), version integer NOT NULL, upgraded boolean NOT NULL);
CREATE TABLE schema_compat_version (lock char(1) NOT NULL DEFAULT 'X' CHECK (lock = 'X'), compat_version integer NOT NULL);
CREATE TABLE applied_schema_deltas (version integer NOT NULL, file text NOT NULL);
CREATE TABLE background_updates (update_name text NOT NULL, progress_json text NOT NULL, depends_on text, ordering integer NOT NULL DEFAULT 0);
CREATE TABLE stream_positions (stream_name text NOT NULL, instance_name text NOT NULL, stream_id bigint NOT NULL);

-- people
CREATE TABLE users (
    name text, password_hash text, creation_ts bigint, admin smallint NOT NULL DEFAULT 0, upgrade_ts bigint, is_guest smallint NOT NULL DEFAULT 0,
    appservice_id text, consent_version text, user_type text, deactivated smallint NOT NULL DEFAULT 0, shadow_banned boolean, approved boolean,
    locked boolean NOT NULL DEFAULT false, suspended boolean NOT NULL DEFAULT false);
CREATE TABLE profiles (user_id text NOT NULL, displayname text, avatar_url text, full_user_id text, fields jsonb, CONSTRAINT full_user_id_not_null CHECK (full_user_id IS NOT NULL));
CREATE TABLE devices (user_id text NOT NULL, device_id text NOT NULL, display_name text, last_seen bigint, ip text, user_agent text, hidden boolean DEFAULT false);
CREATE TABLE access_tokens (id bigint NOT NULL, user_id text NOT NULL, device_id text, token text NOT NULL, valid_until_ms bigint, last_validated bigint, used boolean);
CREATE TABLE user_ips (user_id text NOT NULL, access_token text NOT NULL, device_id text, ip text NOT NULL, user_agent text NOT NULL, last_seen bigint NOT NULL);
CREATE TABLE account_data (user_id text NOT NULL, account_data_type text NOT NULL, stream_id bigint NOT NULL, content text NOT NULL, instance_name text);
CREATE TABLE room_account_data (user_id text NOT NULL, room_id text NOT NULL, account_data_type text NOT NULL, stream_id bigint NOT NULL, content text NOT NULL, instance_name text);
CREATE TABLE room_tags_revisions (user_id text NOT NULL, room_id text NOT NULL, stream_id bigint NOT NULL, instance_name text);
CREATE TABLE presence_stream (stream_id bigint, user_id text, state text, last_active_ts bigint, status_msg text, currently_active boolean, instance_name text);
CREATE TABLE push_rules_stream (stream_id bigint NOT NULL, event_stream_ordering bigint NOT NULL, user_id text NOT NULL, rule_id text NOT NULL, op text NOT NULL, conditions text, actions text, instance_name text);
CREATE TABLE pushers (id bigint NOT NULL, user_name text NOT NULL, kind text NOT NULL, app_id text NOT NULL, pushkey text NOT NULL, ts bigint NOT NULL, data text, enabled boolean, device_id text);
CREATE TABLE deleted_pushers (stream_id bigint NOT NULL, app_id text NOT NULL, pushkey text NOT NULL, user_id text NOT NULL, instance_name text);

-- keys and devices
CREATE TABLE e2e_one_time_keys_json (user_id text NOT NULL, device_id text NOT NULL, algorithm text NOT NULL, key_id text NOT NULL, ts_added_ms bigint NOT NULL, key_json text NOT NULL);
CREATE TABLE e2e_device_keys_json (user_id text NOT NULL, device_id text NOT NULL, ts_added_ms bigint NOT NULL, key_json text NOT NULL);
CREATE TABLE e2e_cross_signing_keys (user_id text NOT NULL, keytype text NOT NULL, keydata text NOT NULL, stream_id bigint NOT NULL, instance_name text);
CREATE TABLE device_inbox (user_id text NOT NULL, device_id text NOT NULL, stream_id bigint NOT NULL, message_json text NOT NULL, instance_name text);
CREATE TABLE device_lists_stream (stream_id bigint NOT NULL, user_id text NOT NULL, device_id text NOT NULL, instance_name text);
CREATE TABLE device_lists_outbound_pokes (destination text NOT NULL, stream_id bigint NOT NULL, user_id text NOT NULL, device_id text NOT NULL, sent boolean NOT NULL, ts bigint NOT NULL, opentracing_context text, instance_name text);
CREATE TABLE device_lists_changes_in_room (user_id text NOT NULL, device_id text NOT NULL, room_id text NOT NULL, stream_id bigint NOT NULL, converted_to_destinations boolean NOT NULL, opentracing_context text, instance_name text, inserted_ts bigint);
CREATE TABLE device_lists_remote_cache (user_id text NOT NULL, device_id text NOT NULL, content text NOT NULL);

-- media
CREATE TABLE local_media_repository (
    media_id text, media_type text, media_length integer, created_ts bigint, upload_name text, user_id text, quarantined_by text, url_cache text,
    last_access_ts bigint, safe_from_quarantine boolean NOT NULL DEFAULT false, authenticated boolean NOT NULL DEFAULT false, sha256 text);
CREATE TABLE remote_media_cache (
    media_origin text, media_id text, media_type text, created_ts bigint, upload_name text, media_length integer, filesystem_id text, last_access_ts bigint,
    quarantined_by text, authenticated boolean NOT NULL DEFAULT false, sha256 text);
CREATE TABLE local_media_repository_thumbnails (
    media_id text, thumbnail_width integer, thumbnail_height integer, thumbnail_type text, thumbnail_method text, thumbnail_length integer);
CREATE TABLE remote_media_cache_thumbnails (
    media_origin text, media_id text, thumbnail_width integer, thumbnail_height integer, thumbnail_method text, thumbnail_type text,
    thumbnail_length integer, filesystem_id text);

-- rooms
CREATE TABLE rooms (room_id text NOT NULL, is_public boolean, creator text, room_version text, has_auth_chain_index boolean);
CREATE TABLE room_depth (room_id text NOT NULL, min_depth bigint);
CREATE TABLE room_stats_state (room_id text NOT NULL, name text, canonical_alias text, join_rules text, history_visibility text, encryption text, is_federatable boolean, topic text);
CREATE TABLE room_stats_current (room_id text NOT NULL, current_state_events integer NOT NULL, joined_members integer NOT NULL, local_users_in_room integer NOT NULL, completed_delta_stream_id bigint NOT NULL);
CREATE TABLE room_memberships (
    event_id text NOT NULL, user_id text NOT NULL, sender text NOT NULL, room_id text NOT NULL, membership text NOT NULL, forgotten integer DEFAULT 0,
    display_name text, avatar_url text, event_stream_ordering bigint, participant boolean DEFAULT false);
CREATE TABLE local_current_membership (room_id text NOT NULL, user_id text NOT NULL, event_id text NOT NULL, membership text NOT NULL, event_stream_ordering bigint);
CREATE TABLE current_state_events (event_id text NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL, membership text, event_stream_ordering bigint);
CREATE TABLE current_state_delta_stream (stream_id bigint NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL, event_id text, prev_event_id text, instance_name text);

-- events
CREATE TABLE events (
    topological_ordering bigint NOT NULL, event_id text NOT NULL, type text NOT NULL, room_id text NOT NULL, content text, unrecognized_keys text,
    processed boolean NOT NULL, outlier boolean NOT NULL, depth bigint NOT NULL DEFAULT 0, origin_server_ts bigint, received_ts bigint, sender text,
    contains_url boolean, instance_name text, stream_ordering bigint, state_key text, rejection_reason text);
CREATE TABLE event_json (event_id text NOT NULL, room_id text NOT NULL, internal_metadata text NOT NULL, json text NOT NULL, format_version integer);
CREATE TABLE event_edges (event_id text NOT NULL, prev_event_id text NOT NULL, room_id text, is_state boolean NOT NULL DEFAULT false);
CREATE TABLE event_auth (event_id text NOT NULL, auth_id text NOT NULL, room_id text NOT NULL);
CREATE TABLE event_auth_chains (event_id text NOT NULL, chain_id bigint NOT NULL, sequence_number bigint NOT NULL);
CREATE TABLE event_auth_chain_links (origin_chain_id bigint NOT NULL, origin_sequence_number bigint NOT NULL, target_chain_id bigint NOT NULL, target_sequence_number bigint NOT NULL);
CREATE TABLE event_forward_extremities (event_id text NOT NULL, room_id text NOT NULL);
CREATE TABLE event_relations (event_id text NOT NULL, relates_to_id text NOT NULL, relation_type text NOT NULL, aggregation_key text);
CREATE TABLE event_search (event_id text, room_id text, sender text, key text, vector tsvector, origin_server_ts bigint, stream_ordering bigint);
CREATE TABLE event_push_actions (
    room_id text NOT NULL, event_id text NOT NULL, user_id text NOT NULL, profile_tag varchar(32), actions text NOT NULL, topological_ordering bigint,
    stream_ordering bigint, notif smallint, highlight smallint, unread smallint, thread_id text, CONSTRAINT event_push_actions_thread_id CHECK (thread_id IS NOT NULL));
CREATE TABLE state_events (event_id text NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL, prev_state text);
CREATE TABLE stream_ordering_to_exterm (stream_ordering bigint NOT NULL, room_id text NOT NULL, event_id text NOT NULL);
CREATE TABLE receipts_linearized (stream_id bigint NOT NULL, room_id text NOT NULL, receipt_type text NOT NULL, user_id text NOT NULL, event_id text NOT NULL, data text NOT NULL, instance_name text, event_stream_ordering bigint, thread_id text);
CREATE TABLE receipts_graph (room_id text NOT NULL, receipt_type text NOT NULL, user_id text NOT NULL, event_ids text NOT NULL, data text NOT NULL, thread_id text);

-- state groups: half of the bytes
CREATE TABLE state_groups (id bigint NOT NULL, room_id text NOT NULL, event_id text NOT NULL);
CREATE TABLE state_group_edges (state_group bigint NOT NULL, prev_state_group bigint NOT NULL);
CREATE TABLE state_groups_state (state_group bigint NOT NULL, room_id text NOT NULL, type text NOT NULL, state_key text NOT NULL, event_id text NOT NULL);
CREATE TABLE event_to_state_groups (event_id text NOT NULL, state_group bigint NOT NULL);
-- One big table is searched in many ways; Synapse tells the planner so.
ALTER TABLE state_groups_state ALTER COLUMN state_group SET (n_distinct = -0.02);

-- federation and streams
CREATE TABLE destinations (destination text NOT NULL, retry_last_ts bigint, retry_interval bigint, failure_ts bigint, last_successful_stream_ordering bigint);
CREATE TABLE received_transactions (transaction_id text, origin text, ts bigint, response_code integer, response_json bytea, has_been_referenced smallint DEFAULT 0);
CREATE TABLE cache_invalidation_stream_by_instance (stream_id bigint NOT NULL, instance_name text NOT NULL, cache_func text NOT NULL, keys text[], invalidation_ts bigint);
CREATE TABLE un_partial_stated_room_stream (stream_id bigint NOT NULL, instance_name text NOT NULL, room_id text NOT NULL);
CREATE TABLE un_partial_stated_event_stream (stream_id bigint NOT NULL, instance_name text NOT NULL, event_id text NOT NULL, rejection_status_changed boolean NOT NULL);
CREATE TABLE state_groups_pending_deletion (sequence_number bigint GENERATED ALWAYS AS IDENTITY, state_group bigint NOT NULL, insertion_ts bigint NOT NULL);
CREATE TABLE sliding_sync_connections (connection_key bigint GENERATED ALWAYS AS IDENTITY, user_id text NOT NULL, effective_device_id text NOT NULL, conn_id text NOT NULL, created_ts bigint NOT NULL);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY string_to_array('account_data_sequence application_services_txn_id_seq cache_invalidation_stream_seq device_inbox_sequence
        device_lists_sequence e2e_cross_signing_keys_sequence event_auth_chain_id events_backfill_stream_seq events_stream_seq instance_map_instance_id_seq
        presence_stream_sequence profile_updates_sequence push_rules_stream_sequence pushers_sequence quarantined_media_id_seq receipts_sequence
        state_group_id_seq sticky_events_sequence thread_subscriptions_sequence un_partial_stated_event_stream_sequence
        un_partial_stated_room_stream_sequence user_id_seq', ' ') LOOP
        IF trim(E' \n\t' FROM name) <> '' THEN
            EXECUTE format('CREATE SEQUENCE %I', trim(E' \n\t' FROM name));
        END IF;
    END LOOP;
END $$;
ALTER SEQUENCE instance_map_instance_id_seq AS integer;

-- The many small tables, of four kinds.
DO $$
DECLARE
    name text;
    i int := 0;
    kinds text[] := ARRAY[
        'user_id text NOT NULL, kind text NOT NULL, content text NOT NULL, ts bigint',
        'room_id text NOT NULL, event_id text NOT NULL, stream_id bigint, enabled boolean DEFAULT true',
        'destination text NOT NULL, ts_added_ms bigint NOT NULL, content bytea',
        'id bigint NOT NULL, user_id text NOT NULL, extra jsonb, address inet, expires timestamptz'];
BEGIN
    FOREACH name IN ARRAY regexp_split_to_array('account_validity application_services_state application_services_txns applied_module_schemas
        appservice_room_list appservice_stream_position blocked_rooms dehydrated_devices delayed_events delayed_events_stream_pos destination_rooms
        device_auth_providers device_federation_inbox device_federation_outbox device_lists_changes_converted_stream_position
        device_lists_outbound_last_success device_lists_remote_extremeties device_lists_remote_pending device_lists_remote_resync
        e2e_cross_signing_signatures e2e_fallback_keys_json e2e_room_keys e2e_room_keys_versions erased_users event_auth_chain_to_calculate
        event_backward_extremities event_expiry event_failed_pull_attempts event_labels event_push_actions_staging event_push_summary
        event_push_summary_last_receipt_stream_id event_push_summary_stream_ordering event_reports event_txn_id_device_id ex_outlier_stream
        federation_inbound_events_staging federation_stream_position ignored_users instance_map local_media_repository_thumbnails
        local_media_repository_url_cache login_tokens monthly_active_users open_id_tokens partial_state_events partial_state_rooms
        partial_state_rooms_servers per_user_experimental_features profile_updates profile_updates_per_user push_rules push_rules_enable pusher_throttle
        quarantined_media_changes ratelimit_override redactions refresh_tokens registration_tokens rejections remote_media_cache_thumbnails
        room_alias_servers room_aliases room_ban_redactions room_forgetter_stream_pos room_reports room_retention room_stats_earliest_token room_tags
        scheduled_tasks server_keys_json server_signature_keys sessions sliding_sync_connection_lazy_members sliding_sync_connection_positions
        sliding_sync_connection_required_state sliding_sync_connection_room_configs sliding_sync_connection_streams sliding_sync_joined_rooms
        sliding_sync_joined_rooms_to_recalculate sliding_sync_membership_snapshots state_groups_persisting stats_incremental_position sticky_events
        thread_subscriptions threads threepid_guest_access_tokens threepid_validation_session threepid_validation_token timeline_gaps ui_auth_sessions
        ui_auth_sessions_credentials ui_auth_sessions_ips user_daily_visits user_directory user_directory_search user_directory_stale_remote_users
        user_directory_stream_pos user_external_ids user_filters user_reports user_signature_stream user_stats_current user_threepid_id_server
        user_threepids users_in_public_rooms users_pending_deactivation users_to_send_full_presence_to users_who_share_private_rooms worker_locks', '\s+') LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I (%s)', name, kinds[1 + i % 4]); -- two are above, of their own kind
        i := i + 1;
    END LOOP;
END $$;

CREATE FUNCTION check_event_stream_ordering() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM events e WHERE e.event_id = NEW.event_id AND e.stream_ordering <> NEW.event_stream_ordering;
    IF FOUND THEN
        RAISE EXCEPTION 'event % has another stream ordering', NEW.event_id;
    END IF;
    RETURN NEW;
END $$;
