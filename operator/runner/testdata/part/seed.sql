-- A database of which parts are restored: what needs what, in all the ways that decide whether something comes along.
CREATE SCHEMA app;
CREATE SCHEMA other;
CREATE SCHEMA ext;
CREATE SCHEMA tied;
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext SCHEMA public;
CREATE EXTENSION file_fdw SCHEMA public;
GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT USAGE ON SCHEMA other TO PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;

-- Definitions that a table needs.
CREATE TYPE other.mood AS ENUM ('calm', 'angry');
CREATE DOMAIN other.positive AS int CHECK (VALUE > 0);
CREATE FUNCTION other.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION other.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION other.unused() RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE SEQUENCE other.shared;
CREATE TABLE other.base (id serial PRIMARY KEY, n int);
INSERT INTO other.base (n) SELECT i FROM generate_series(1, 50) i;

-- A table with everything.
CREATE TABLE app.t (
    id serial PRIMARY KEY,
    number int GENERATED ALWAYS AS IDENTITY,
    mood other.mood DEFAULT 'calm',
    positive other.positive DEFAULT other.one(),
    words ext.hstore DEFAULT 'a=>1',
    text public.citext,
    base int REFERENCES other.base,
    shared int DEFAULT nextval('other.shared'),
    borrowed int DEFAULT nextval('other.base_id_seq')
);
INSERT INTO app.t (text, base) SELECT 'row ' || i, i FROM generate_series(1, 40) i;
CREATE INDEX t_mood ON app.t (mood);
CREATE STATISTICS app.t_stat ON mood, positive FROM app.t;
CREATE TRIGGER touched BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION other.touch();
ALTER TABLE app.t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.t USING (id > 0);
CREATE POLICY through_base ON app.t USING (base IN (SELECT id FROM other.base));
CREATE RULE deletes AS ON DELETE TO app.t DO ALSO DELETE FROM other.base WHERE id = OLD.base;
COMMENT ON TABLE app.t IS 'of the table';
COMMENT ON COLUMN app.t.id IS 'of the column';
COMMENT ON INDEX app.t_mood IS 'of the index';
GRANT SELECT ON app.t TO PUBLIC;
GRANT UPDATE (text) ON app.t TO PUBLIC;
CREATE PUBLICATION one_table FOR TABLE app.t;
CREATE PUBLICATION one_schema FOR TABLES IN SCHEMA app;

-- Views: that can be restored with the schema, that cannot, and one on that.
CREATE VIEW app.on_t AS SELECT id, text FROM app.t;
CREATE VIEW app.on_base AS SELECT n FROM other.base;
CREATE VIEW app.on_view AS SELECT n + 1 AS n FROM app.on_base;
CREATE MATERIALIZED VIEW app.counted AS SELECT mood, count(*) FROM app.t GROUP BY mood;
CREATE UNIQUE INDEX counted_mood ON app.counted (mood);
CREATE MATERIALIZED VIEW app.counted_base AS SELECT count(*) FROM other.base;
-- pg_dump makes these empty first, and gives them their query as a rule.
CREATE TABLE app.grouped (id int PRIMARY KEY, text text);
CREATE VIEW app.by_key AS SELECT id, text FROM app.grouped GROUP BY id;
CREATE VIEW app.circle AS SELECT 1 AS one, n FROM other.base;
CREATE FUNCTION app.of_circle(app.circle) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE VIEW app.circle AS SELECT app.of_circle(NULL) AS one, n FROM other.base;
CREATE FUNCTION app.rows_of_base() RETURNS SETOF other.base LANGUAGE sql AS 'SELECT * FROM other.base';
CREATE FUNCTION app.reads_base() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM other.base; END;

-- Partitions, one of them in another schema, with keys and indexes that they have from their parent.
CREATE TABLE app.parts (at date NOT NULL, text text, CONSTRAINT parts_key PRIMARY KEY (at)) PARTITION BY RANGE (at);
CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
CREATE TABLE other.parts_2 PARTITION OF app.parts FOR VALUES FROM ('2024-07-01') TO ('2025-01-01') PARTITION BY RANGE (at);
CREATE TABLE other.parts_2_a PARTITION OF other.parts_2 FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
CREATE INDEX parts_text ON app.parts (text);
INSERT INTO app.parts SELECT '2024-01-01'::date + i, md5(i::text) FROM generate_series(0, 360) i;

CREATE TABLE app.refers (t int REFERENCES app.t, at date REFERENCES app.parts);
INSERT INTO app.refers VALUES (1, '2024-01-01'), (2, '2024-12-01');
CREATE TABLE app.unchecked (id int, CONSTRAINT far FOREIGN KEY (id) REFERENCES other.base NOT VALID);
ALTER TABLE app.unchecked ADD CONSTRAINT near CHECK (id > 0) NOT VALID;
COMMENT ON CONSTRAINT far ON app.unchecked IS 'of what is left out';
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE app.of_file (line text) SERVER files OPTIONS (filename '/dev/null');

-- Tables that cannot be made without another one.
CREATE TABLE tied.child (more int) INHERITS (other.base);
CREATE TABLE tied.rows (one other.base);
INSERT INTO tied.child (n, more) VALUES (7, 8);

-- Names that look like something else.
CREATE SCHEMA "A.b ""C""";
CREATE TABLE "A.b ""C"""."d.E" ("x ""y""" serial PRIMARY KEY, text text);
INSERT INTO "A.b ""C"""."d.E" (text) VALUES ('hostile');
CREATE INDEX "i.J" ON "A.b ""C"""."d.E" (text);
CREATE SCHEMA a;
CREATE SCHEMA "a.b";
CREATE TABLE a."b.c" AS SELECT 'schema a' AS text;
CREATE TABLE "a.b".c AS SELECT 'schema a.b' AS text;
CREATE TABLE public."Größe" AS SELECT 1 AS one;
CREATE TABLE public."größe" AS SELECT 2 AS two;
SELECT lo_from_bytea(4711, 'of no schema');
