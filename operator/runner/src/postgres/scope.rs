//! What a dump covers, as SQL: the one place that says which schemas and relations `pg_dump` takes, and whose extension's they
//! are. Pure.

macro_rules! ours {
    () => {
        "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    };
}

/// Whether schema `n` is one that `pg_dump` takes: not one of PostgreSQL itself.
pub const SCHEMAS: &str = ours!();

/// For FROM: relations `c` of all kinds in their schemas `n`, without those of PostgreSQL itself and temporary ones.
pub const RELATIONS: &str = concat!(
    "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND c.relpersistence <> 't' AND ",
    ours!()
);

/// For FROM, after [`RELATIONS`]: the extension `e` that relation `c` belongs to, if it does. `pg_dump` leaves it to the extension
/// to make `c`, and takes its rows or value only if `c` is among `e.extconfig`.
pub const EXTENSIONS: &str = "
    LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
        AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid";

/// Whether the rows or the value of `c` are dumped, after [`EXTENSIONS`].
pub const CONFIGURATION_OR_OURS: &str = "(e.oid IS NULL OR c.oid = ANY (coalesce(e.extconfig, '{}')))";
