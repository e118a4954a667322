-- Run as superuser in the database postgres: an empty database and the roles of the data set.
DROP DATABASE IF EXISTS greenlang WITH (FORCE);
DROP ROLE IF EXISTS greenlang_app, "Prüferin";

-- Two roles with grants, one a member of the other.
CREATE ROLE "Prüferin" NOLOGIN;
CREATE ROLE greenlang_app LOGIN CONNECTION LIMIT 20 VALID UNTIL '2031-01-01 00:00:00+00';
GRANT "Prüferin" TO greenlang_app WITH ADMIN OPTION;
COMMENT ON ROLE "Prüferin" IS 'Liest, was geprüft wird';
ALTER ROLE greenlang_app SET application_name = 'greenlang';

CREATE DATABASE greenlang OWNER greenlang_app TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE greenlang FROM PUBLIC;
GRANT CONNECT ON DATABASE greenlang TO "Prüferin";
ALTER DATABASE greenlang SET work_mem = '8MB';
ALTER DATABASE greenlang SET timezone = 'Europe/Berlin';
ALTER DATABASE greenlang SET search_path = public, extensions;
ALTER ROLE greenlang_app IN DATABASE greenlang SET statement_timeout = '5min';

-- The user that makes backups is there already (parts/postgres.rs) and may read every table; here it may connect.
GRANT CONNECT ON DATABASE greenlang TO backup;
