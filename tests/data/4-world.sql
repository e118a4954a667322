-- Weather, prices, work, nature, places: many plain tables, whole documents as jsonb, names and values of every kind.
CREATE SCHEMA "Wetter & Märkte";
SET search_path = "Wetter & Märkte";

CREATE TABLE daily (location text, date date, precipitation real, temp_max real, temp_min real, wind real, weather text, PRIMARY KEY (location, date));
--@csv weather.csv daily (location, date, precipitation, temp_max, temp_min, wind, weather)
CREATE TABLE hourly_normal (date timestamp PRIMARY KEY, pressure numeric(6, 1), temperature numeric(4, 1), wind numeric(4, 1));
--@csv seattle-weather-hourly-normals.csv hourly_normal (date, pressure, temperature, wind)
CREATE TABLE sp500 (date date PRIMARY KEY, open numeric, high numeric, low numeric, close numeric, adjclose numeric, volume bigint);
--@csv sp500-2000.csv sp500 (date, open, high, low, close, adjclose, volume)
CREATE TABLE stock (symbol text, date date, price money NOT NULL, PRIMARY KEY (symbol, date));
--@csv stocks.csv stock (symbol, date, price)
CREATE TABLE disaster ("Entity" text, "Year" smallint, "Deaths" integer, PRIMARY KEY ("Entity", "Year"));
--@csv disasters.csv disaster ("Entity", "Year", "Deaths")
CREATE TABLE job (job text, sex text CHECK (sex IN ('men', 'women')), year smallint, count bigint, perc double precision, PRIMARY KEY (job, sex, year));
--@json jobs.json
INSERT INTO job SELECT t.* FROM raw, jsonb_to_recordset(doc) AS t (job text, sex text, year smallint, count bigint, perc double precision);

CREATE SCHEMA "Länder";
SET search_path = "Länder";

CREATE TABLE "Postleitzahl" (zip_code char(5) PRIMARY KEY, latitude float8, longitude float8, city text, state char(2), county text);
--@csv zipcodes.csv "Postleitzahl" (zip_code, latitude, longitude, city, state, county)
CREATE TABLE species (item_id text, common_name text, scientific_name text, gap_species_code text, county_id integer, habitat numeric, PRIMARY KEY (item_id, county_id));
--@csv species.csv species (item_id, common_name, scientific_name, gap_species_code, county_id, habitat)
CREATE TABLE "Lebenserwartung" ("Land" text, "Jahr" smallint, "Bevölkerung" bigint, "Jahre" numeric, "Kinder je Frau" numeric, PRIMARY KEY ("Land", "Jahr"));
--@json gapminder.json
INSERT INTO "Lebenserwartung" SELECT country, year, pop, life_expect, fertility
FROM raw, jsonb_to_recordset(doc) AS t (country text, year smallint, pop bigint, life_expect numeric, fertility numeric);
CREATE TABLE "Fußball" ("Tag" date, "Liga" text, "Heim" text, "Gäste" text, tore smallint[], PRIMARY KEY ("Tag", "Heim"));
--@json football.json
INSERT INTO "Fußball" SELECT date, division, home_team, away_team, ARRAY[home_score, away_score]
FROM raw, jsonb_to_recordset(doc) AS t (date date, division text, home_team text, away_team text, home_score smallint, away_score smallint);
CREATE TABLE earthquake (id text PRIMARY KEY, at timestamptz NOT NULL, magnitude numeric, feature jsonb NOT NULL);
--@json earthquakes.json
INSERT INTO earthquake SELECT f->>'id', to_timestamp((f->'properties'->>'time')::numeric / 1000), (f->'properties'->>'mag')::numeric, f
FROM raw, jsonb_array_elements(doc->'features') AS f;
CREATE TABLE document (name text PRIMARY KEY, body jsonb NOT NULL, source json);
--@json us-10m.json
INSERT INTO document SELECT 'us-10m', doc, '{"b":  1, "a": 2, "a": 3}' FROM raw;
--@json londonBoroughs.json
INSERT INTO document SELECT 'London — Ло́ндон', doc FROM raw;

-- Values that are easily lost on the way.
CREATE TABLE "Größen ""und"" Grenzen" (
  "Schlüssel" integer PRIMARY KEY, "text" text, b bytea, f double precision, n numeric, t timestamptz, d date, i interval, a text[], u uuid,
  ip inet, bits bit varying, r tstzrange, vector tsvector, x xml, p point
);
INSERT INTO "Größen ""und"" Grenzen" VALUES
  (1, E'tab\t newline\n return\r backslash \\ quote '' \\. \\N', '\x00ff5c0a', 'NaN', 'NaN', 'infinity', '-infinity', '1 year -2 days 03:04:05.678901', '{}', '00000000-0000-0000-0000-000000000001', '2001:db8::/32', B'', '(,)', 'a:1', '<a>ä</a>', '(1,-2)'),
  (2, '', '', '-Infinity', 123456789012345678901234567890.123456789, '4713-01-01 00:00:00+00 BC', '5874897-12-31', '-178000000 years', '{{a,NULL},{"",NULL}}', NULL, '10.0.0.1', B'10101', 'empty', '', NULL, '(1e-300,1e300)'),
  (3, NULL, NULL, 0.1::float8 + 0.2::float8, 0.00000000000000000001, '1969-12-31 23:59:59.999999+00', '2000-02-29', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, 'Ελλάδα 日本 हिन्दी 🌿 e' || U&'\0301', NULL, '-0', -0.00, NULL, NULL, '00:00', '{"\\","\""}', NULL, NULL, NULL, NULL, 'fett:1A', NULL, NULL);
CREATE TABLE "leer" (nichts integer);
CREATE TABLE "ohne Spalten" ();
INSERT INTO "ohne Spalten" DEFAULT VALUES;
CREATE UNLOGGED TABLE unlogged (n integer DEFAULT 1);
INSERT INTO unlogged DEFAULT VALUES;
CREATE RULE no_delete AS ON DELETE TO "leer" DO INSTEAD NOTHING;
CREATE AGGREGATE product (double precision) (SFUNC = float8mul, STYPE = double precision, INITCOND = '1');
CREATE COLLATION "Telefonbuch" (provider = icu, locale = 'de-u-co-phonebk');
CREATE PUBLICATION nature FOR TABLE species WHERE (habitat > 0);
RESET search_path;
ANALYZE;
