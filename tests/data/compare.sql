-- One line for each thing in a database and for the roles of its server: ["section", "name", value]. Run on two databases of
-- equal content it writes equal lines, in any order. It looks into the catalogue itself and needs no dump.
SET TimeZone = 'UTC'; SET bytea_output = hex; SET extra_float_digits = 1; SET DateStyle = ISO; SET IntervalStyle = postgres;
SET search_path = pg_catalog; SET client_min_messages = error; SET lo_compat_privileges = on; SET xmloption = content;
SET statement_timeout = 0;

-- Grants as a sorted list; none means the default, which is spelled out, because a restore may write it down.
CREATE FUNCTION pg_temp.acl(acl aclitem[], kind "char", owner oid) RETURNS text STABLE LANGUAGE sql AS $$
  SELECT string_agg(format('%s: %s%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type,
    CASE WHEN is_grantable THEN ' with grant option' END), ', ' ORDER BY grantee::regrole::text, privilege_type, is_grantable)
  FROM aclexplode(coalesce(acl, acldefault(kind, owner))) $$;
CREATE FUNCTION pg_temp.own(class oid, object oid) RETURNS boolean STABLE LANGUAGE sql AS $$
  SELECT NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = object AND deptype = 'e') $$;
CREATE TEMPORARY VIEW own_schema AS
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_temp.own('pg_namespace'::regclass, oid);
CREATE TEMPORARY VIEW own_class AS
  SELECT c.*, format('%I.%I', nspname, relname) AS name FROM pg_class AS c JOIN own_schema AS n ON n.oid = relnamespace
  WHERE pg_temp.own('pg_class'::regclass, c.oid);

SELECT json_build_array('database', 'itself', to_json(d)) FROM (
  SELECT datname, datdba::regrole, pg_encoding_to_char(encoding) AS encoding, datcollate, datctype, datlocprovider, datlocale, datconnlimit,
    pg_temp.acl(datacl, 'd', datdba) AS acl, shobj_description(oid, 'pg_database') AS comment
  FROM pg_database WHERE datname = current_database()) AS d;
SELECT json_build_array('setting', format('database %s, role %s', coalesce(datname, 'any'), coalesce(rolname, 'any')), setting)
  FROM pg_db_role_setting LEFT JOIN pg_database AS d ON d.oid = setdatabase LEFT JOIN pg_roles AS r ON r.oid = setrole,
    LATERAL (SELECT string_agg(s, ', ' ORDER BY s) AS setting FROM unnest(setconfig) AS s) AS s
  WHERE setdatabase = 0 OR datname = current_database();
SELECT json_build_array('role', rolname, json_build_object('superuser', rolsuper, 'inherit', rolinherit, 'createrole', rolcreaterole,
    'createdb', rolcreatedb, 'login', rolcanlogin, 'replication', rolreplication, 'bypassrls', rolbypassrls, 'limit', rolconnlimit,
    'until', rolvaliduntil, 'comment', shobj_description(oid, 'pg_authid')))
  FROM pg_roles WHERE rolname !~ '^pg_';
SELECT json_build_array('membership', format('%s in %s', member::regrole, roleid::regrole), json_build_array(admin_option, inherit_option, set_option))
  FROM pg_auth_members WHERE member::regrole::text !~ '^pg_';
SELECT json_build_array('tablespace', spcname, json_build_array(spcowner::regrole, spcoptions)) FROM pg_tablespace;
SELECT json_build_array('schema', nspname, json_build_array(nspowner::regrole, pg_temp.acl(nspacl, 'n', nspowner), obj_description(oid, 'pg_namespace'))) FROM own_schema;
SELECT json_build_array('extension', extname, json_build_array(extversion, extnamespace::regnamespace)) FROM pg_extension;

SELECT json_build_array('relation', name, json_build_object('kind', relkind, 'persistence', relpersistence, 'owner', relowner::regrole,
    'options', (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) AS o), 'security', json_build_array(relrowsecurity, relforcerowsecurity), 'replica', relreplident,
    'acl', pg_temp.acl(relacl, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner), 'comment', obj_description(oid, 'pg_class'),
    'partition', pg_get_expr(relpartbound, oid), 'partition key', CASE relkind WHEN 'p' THEN pg_get_partkeydef(oid) END,
    'parents', (SELECT array_agg(inhparent::regclass::text ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = oid),
    'populated', relispopulated, 'definition', CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END))
  FROM own_class WHERE relkind NOT IN ('i', 'I', 'c');
SELECT json_build_array('column', name || '.' || quote_ident(attname), json_build_object(
    'place', row_number() OVER (PARTITION BY c.oid ORDER BY attnum),
    'type', format_type(atttypid, atttypmod), 'not null', attnotnull, 'default', pg_get_expr(adbin, adrelid), 'identity', attidentity,
    'generated', attgenerated, 'collation', attcollation::regcollation, 'storage', attstorage, 'compression', attcompression,
    'statistics', attstattarget,
    -- Newer minor releases keep a number of their own among the options, which says nothing about the column.
    'options', (SELECT array_agg(o ORDER BY o) FROM unnest(attoptions) AS o WHERE o NOT LIKE 'pg\_attver=%'), 'acl', CASE WHEN attacl IS NOT NULL THEN pg_temp.acl(attacl, 'c', relowner) END,
    'comment', col_description(c.oid, attnum)))
  FROM own_class AS c JOIN pg_attribute ON attrelid = c.oid LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
  WHERE attnum > 0 AND NOT attisdropped AND relkind NOT IN ('i', 'I', 'S');
SELECT json_build_array('constraint', format('%s on %s', quote_ident(conname), coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text)),
    json_build_array(pg_get_constraintdef(c.oid), convalidated, conislocal, obj_description(c.oid, 'pg_constraint')))
  FROM pg_constraint AS c JOIN own_schema AS n ON n.oid = connamespace;
SELECT json_build_array('index', name, json_build_array(pg_get_indexdef(indexrelid), indisvalid, indisclustered, indisreplident, reloptions, obj_description(oid, 'pg_class')))
  FROM own_class JOIN pg_index ON indexrelid = oid;
SELECT json_build_array('trigger', format('%s on %s', quote_ident(tgname), name), json_build_array(pg_get_triggerdef(t.oid), tgenabled, obj_description(t.oid, 'pg_trigger')))
  FROM pg_trigger AS t JOIN own_class AS c ON c.oid = tgrelid WHERE NOT tgisinternal;
SELECT json_build_array('event trigger', evtname, json_build_array(evtevent, evtfoid::regproc, evtenabled, evttags)) FROM pg_event_trigger;
SELECT json_build_array('rule', format('%s on %s', quote_ident(rulename), name), json_build_array(pg_get_ruledef(r.oid), ev_enabled))
  FROM pg_rewrite AS r JOIN own_class AS c ON c.oid = ev_class;
SELECT json_build_array('row security', format('%s on %s', quote_ident(polname), name), json_build_array(polcmd, polpermissive,
    (SELECT array_agg(r::regrole::text ORDER BY r::regrole::text) FROM unnest(polroles) AS r), pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)))
  FROM pg_policy JOIN own_class AS c ON c.oid = polrelid;
SELECT json_build_array('statistics', stxname, json_build_array(pg_get_statisticsobjdef(s.oid), stxowner::regrole))
  FROM pg_statistic_ext AS s JOIN own_schema AS n ON n.oid = stxnamespace;
SELECT json_build_array('function', p.oid::regprocedure, json_build_array(CASE prokind WHEN 'a' THEN aggtransfn || ' ' || agginitval ELSE pg_get_functiondef(p.oid) END,
    proowner::regrole, pg_temp.acl(proacl, 'f', proowner), obj_description(p.oid, 'pg_proc')))
  FROM pg_proc AS p JOIN own_schema AS n ON n.oid = pronamespace LEFT JOIN pg_aggregate ON aggfnoid = p.oid WHERE pg_temp.own('pg_proc'::regclass, p.oid);
SELECT json_build_array('type', t.oid::regtype, json_build_array(typtype, typcategory, typnotnull, typdefault, typbasetype::regtype, typowner::regrole,
    (SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), (SELECT rngsubtype::regtype FROM pg_range WHERE rngtypid = t.oid),
    pg_temp.acl(typacl, 'T', typowner), obj_description(t.oid, 'pg_type')))
  FROM pg_type AS t JOIN own_schema AS n ON n.oid = typnamespace WHERE pg_temp.own('pg_type'::regclass, t.oid);
SELECT json_build_array('collation', collname, json_build_array(collprovider, collisdeterministic, collcollate, collctype, colllocale, collowner::regrole))
  FROM pg_collation JOIN own_schema AS n ON n.oid = collnamespace;
SELECT json_build_array('publication', pubname, json_build_array(to_json(p)::jsonb - 'oid' - 'pubowner', pubowner::regrole,
    (SELECT array_agg(t.attnames::text || t.tablename || coalesce(rowfilter, '') ORDER BY tablename) FROM pg_publication_tables AS t WHERE t.pubname = p.pubname)))
  FROM pg_publication AS p;
SELECT json_build_array('default privileges', format('%s in %s for %s', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype),
    pg_temp.acl(defaclacl, defaclobjtype, defaclrole)) FROM pg_default_acl;
SELECT json_build_array('large object', oid, json_build_array(lomowner::regrole, pg_temp.acl(lomacl, 'L', lomowner), obj_description(oid, 'pg_largeobject'),
    length(lo_get(oid)), md5(lo_get(oid)))) FROM pg_largeobject_metadata;

-- Content: the number of rows, and a sum of digests that does not depend on their order. The alias must be no column's name.
SELECT format($$SELECT json_build_array('sequence', %L, json_build_array(last_value, is_called, (SELECT to_json(s)::jsonb - 'seqrelid' FROM pg_sequence AS s WHERE seqrelid = %L::regclass))) FROM %s$$, name, name, name)
  FROM own_class WHERE relkind = 'S' \gexec
SELECT format($$SELECT json_build_array('content', %L, json_build_object('kind', %L, 'rows', count(*), 'digest', coalesce(sum(('x' || left(md5("whole row"::text), 15))::bit(60)::bigint), 0)::text)) FROM ONLY %s AS "whole row"$$, name, relkind, name)
  FROM own_class WHERE relkind IN ('r', 'm', 'v') AND relispopulated ORDER BY name \gexec
