-- Movies, cars, pictures: an enum, a function, triggers, row-level security, a trigram index, large objects.
CREATE SCHEMA culture;
GRANT USAGE ON SCHEMA culture TO greenlang_app;

CREATE TYPE culture.rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17', 'Not Rated', 'Open');
CREATE TABLE culture.movie (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  title text,
  released date NOT NULL,
  rating culture.rating,
  director text,
  genre text,
  gross numeric,
  imdb numeric(3, 1) CHECK (imdb BETWEEN 0 AND 10),
  details jsonb NOT NULL
);
--@json movies.json
INSERT INTO culture.movie (title, released, rating, director, genre, gross, imdb, details)
SELECT m->>'Title', to_date(m->>'Release Date', 'Mon DD YYYY'), (m->>'MPAA Rating')::culture.rating, m->>'Director',
  m->>'Major Genre', (m->>'Worldwide Gross')::numeric, (m->>'IMDB Rating')::numeric, jsonb_strip_nulls(m)
FROM raw, jsonb_array_elements(doc) WITH ORDINALITY AS t (m, place) ORDER BY place;
CREATE INDEX movie_title_trigrams ON culture.movie USING gin (title extensions.gin_trgm_ops);
CREATE INDEX movie_details ON culture.movie USING gin (details jsonb_path_ops);

CREATE TABLE culture.car (
  name text NOT NULL, origin text NOT NULL, year date NOT NULL, cylinders smallint NOT NULL, horsepower integer,
  miles_per_gallon real, weight integer NOT NULL, acceleration double precision
);
--@json cars.json
INSERT INTO culture.car
SELECT "Name", "Origin", "Year", "Cylinders", "Horsepower", "Miles_per_Gallon", "Weight_in_lbs", "Acceleration"
FROM raw, jsonb_to_recordset(doc) AS t ("Name" text, "Origin" text, "Year" date, "Cylinders" smallint, "Horsepower" integer,
  "Miles_per_Gallon" real, "Weight_in_lbs" integer, "Acceleration" double precision);

CREATE TABLE culture.monarch (
  name text PRIMARY KEY, reign int4range NOT NULL, EXCLUDE USING gist (reign WITH &&)
);
--@json monarchs.json
INSERT INTO culture.monarch
SELECT m->>'name', int4range((m->>'start')::integer, (m->>'end')::integer) FROM raw, jsonb_array_elements(doc) AS m;

-- What changed, written by a trigger; only rows of the reader's own department are seen.
CREATE TABLE culture.change (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, movie integer NOT NULL REFERENCES culture.movie,
  what text NOT NULL, department name NOT NULL DEFAULT 'Prüferin'
);
CREATE FUNCTION culture.note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = culture AS $$
BEGIN
  -- Quotes '' and a backslash \ on purpose: they must come back as they are.
  INSERT INTO change (at, movie, what) VALUES (timestamptz '2025-11-07 02:00:00+00', NEW.id, OLD.title || ' → ' || NEW.title);
  RETURN NEW;
END
$$;
CREATE TRIGGER title_changed AFTER UPDATE OF title ON culture.movie
  FOR EACH ROW WHEN (OLD.title IS DISTINCT FROM NEW.title) EXECUTE FUNCTION culture.note_change();
CREATE FUNCTION culture.decade(day date) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (EXTRACT(year FROM day)::integer / 10 * 10)::text || 'er';
CREATE PROCEDURE culture.rename(movie integer, title text) LANGUAGE sql AS 'UPDATE culture.movie SET title = $2 WHERE id = $1';
REVOKE ALL ON FUNCTION culture.decade(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION culture.decade(date) TO "Prüferin";
CALL culture.rename(4, 'Let''s talk — おしゃべり');
UPDATE culture.movie SET title = upper(title) WHERE id % 500 = 0;
ALTER TABLE culture.change ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_department ON culture.change FOR SELECT TO "Prüferin" USING (pg_has_role(department, 'MEMBER'));
GRANT SELECT ON culture.change TO "Prüferin";
CREATE VIEW culture.movies_by_decade AS SELECT culture.decade(released) AS decade, count(*) AS movies FROM culture.movie GROUP BY 1;
ALTER TABLE culture.car REPLICA IDENTITY FULL;

CREATE TABLE culture.picture (name text PRIMARY KEY, content oid NOT NULL UNIQUE);
--@large-object ffox.png
--@large-object gimp.png
--@large-object 7zip.png
--@large-object flights-3m.parquet
-- Who may read all tables may not read large objects by that (PostgreSQL 17), so each is granted.
SELECT format('GRANT SELECT ON LARGE OBJECT %s TO pg_read_all_data', oid) FROM pg_largeobject_metadata \gexec
SELECT format('COMMENT ON LARGE OBJECT %s IS %L', content, name) FROM culture.picture \gexec
SELECT format('ALTER LARGE OBJECT %s OWNER TO greenlang_app', content) FROM culture.picture WHERE name LIKE '7%' \gexec
