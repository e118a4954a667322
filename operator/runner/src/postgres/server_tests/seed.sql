-- One of everything that the catalog queries tell apart.
CREATE ROLE seeded;
CREATE ROLE owner;
CREATE ROLE grantee;
CREATE ROLE has_nothing;
CREATE SCHEMA "a ""b"" c";
SET search_path = "a ""b"" c";
CREATE TABLE plain (id serial PRIMARY KEY, t text);
INSERT INTO plain (t) VALUES ('a'), ('b');
CREATE TABLE "Größe;'" ();
CREATE UNLOGGED TABLE fast ();
CREATE TABLE parted (at date) PARTITION BY RANGE (at);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE MATERIALIZED VIEW seen AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW unseen AS SELECT 1 AS one WITH NO DATA;
CREATE VIEW no_rows_of_its_own AS SELECT 1 AS one;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
CREATE USER MAPPING FOR seeded SERVER elsewhere OPTIONS (password 'far-password');
CREATE FOREIGN TABLE far () SERVER elsewhere;
CREATE SEQUENCE never_used START 7;
CREATE SEQUENCE "used '" START 100;
SELECT nextval('"used ''"');
CREATE UNLOGGED TABLE fast_too (id serial);
ALTER TABLE plain ADD CONSTRAINT short CHECK (length(t) < 5) NOT VALID;
CREATE DOMAIN word AS text;
ALTER DOMAIN word ADD CONSTRAINT no_space CHECK (VALUE !~ ' ') NOT VALID;
CREATE FUNCTION owned() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION owned() OWNER TO owner;
GRANT SELECT ON plain TO grantee;
CREATE INDEX broken ON plain (t);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass;
SELECT lo_from_bytea(4242, '\x00ff'), lo_from_bytea(4243, '');
SELECT format('ALTER DATABASE %I SET search_path = app, public', current_database()) \gexec
SELECT format('ALTER ROLE seeded IN DATABASE %I SET work_mem = ''8MB''', current_database()) \gexec
SELECT format('COMMENT ON DATABASE %I IS ''it''''s''', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO seeded', current_database()) \gexec
SELECT format('ALTER DATABASE %I CONNECTION LIMIT 42', current_database()) \gexec
