-- What the other scripts use; all of it temporary. Everything is drawn from
-- hashes of names, so that the same scale gives the same rows.
SET client_min_messages = warning;
SET synchronous_commit = off;
SET work_mem = '64MB';
SET maintenance_work_mem = '256MB';
SET jit = off;

-- 43 characters, as a Matrix event's ID has them after its "$".
CREATE FUNCTION pg_temp.hash(t text) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT translate(encode(sha256(t::bytea), 'base64'), '+/=', '-_') $$;
-- 86 characters, as an Ed25519 signature has them.
CREATE FUNCTION pg_temp.signature(t text) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT translate(encode(sha512(t::bytea), 'base64'), E'\n=', '') $$;
-- At least 0, less than 1.
CREATE FUNCTION pg_temp.draw(t text, salt bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS
$$ SELECT (hashtextextended(t, salt) & 9007199254740991) / 9007199254740992.0::float8 $$;
-- Words of a language of two to six letters, a few of them frequent.
CREATE FUNCTION pg_temp.words(t text, n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(substr('nasotomikaredilupefobagivuhezocyxaja', 1 + 2 * (w % 18), 2)
        || substr('rintelsomkavbeldugnosfitparwek', 1 + 3 * (w / 18 % 10), w / 200)
        || substr('tasienodalysum', 1 + 2 * (w % 7), w / 900), ' ')
    FROM (SELECT floor(2400 * power(pg_temp.draw(t, i), 3))::int AS w FROM generate_series(1, n) i) x $$;
