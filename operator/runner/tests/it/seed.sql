-- A database with one of everything that a dump must carry.
CREATE ROLE "seed owner" LOGIN PASSWORD 'owner-password' CONNECTION LIMIT 7;
CREATE ROLE seed_reader;
GRANT seed_reader TO "seed owner" WITH ADMIN OPTION;
COMMENT ON ROLE seed_reader IS 'may read; it''s for reports';
ALTER ROLE seed_reader SET statement_timeout = '5min';
SELECT format('ALTER DATABASE %I SET search_path = app, public', current_database()) \gexec
SELECT format('ALTER ROLE "seed owner" IN DATABASE %I SET work_mem = ''8MB''', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO seed_reader', current_database()) \gexec
SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), 'it''s production') \gexec
SELECT format('ALTER DATABASE %I CONNECTION LIMIT 50', current_database()) \gexec
CREATE EXTENSION hstore;
CREATE SCHEMA app AUTHORIZATION "seed owner";
SET search_path = app, public;
CREATE SEQUENCE app.numbers START 1000 INCREMENT 7;
CREATE TABLE app."Größe ""m²""" (
    id bigint PRIMARY KEY DEFAULT nextval('app.numbers'),
    "Name ü" text NOT NULL, body jsonb, tags hstore, raw bytea, seen timestamptz DEFAULT now());
INSERT INTO app."Größe ""m²""" ("Name ü", body, tags, raw, seen)
    SELECT 'Zeile ' || i || E' \t\n\\ ✓', jsonb_build_object('i', i, 'ü', repeat('x', i % 50)), hstore('k', i::text),
           decode(md5(i::text), 'hex'), '2025-11-07 02:00:00+00'::timestamptz + i * interval '1 minute'
    FROM generate_series(1, 5000) i;
CREATE INDEX ON app."Größe ""m²""" USING gin (body);
CREATE TABLE app.events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2024 PARTITION OF app.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO app.events SELECT '2024-06-01'::date + i, 'event ' || i FROM generate_series(1, 500) i;
CREATE VIEW app.recent AS SELECT * FROM app.events WHERE at > '2025-01-01';
CREATE MATERIALIZED VIEW app.per_month AS SELECT date_trunc('month', at) AS month, count(*) FROM app.events GROUP BY 1;
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.seen := '2025-01-01 00:00:00+00'; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON app."Größe ""m²""" FOR EACH ROW EXECUTE FUNCTION app.touch();
GRANT USAGE ON SCHEMA app TO seed_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA app TO seed_reader;
ALTER TABLE app.events OWNER TO "seed owner";
SELECT lo_from_bytea(424242, decode(repeat('00ff', 5000), 'hex'));
COMMENT ON LARGE OBJECT 424242 IS 'a large object';
