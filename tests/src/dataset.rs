//! The data set: real tables with everything that a backup must bring back, loaded once per server.
//!
//! `data/*.sql` says what is made of it. Lines that start with `--@` stand for a file of the package:
//! `--@csv FILE TABLE (COLUMNS)` fills a table, `--@json FILE` puts a document into the temporary table `raw (doc jsonb)`,
//! `--@large-object FILE` makes a large object and notes it in `culture.picture`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::cluster::Cluster;
use crate::package;
use crate::parts::postgres::psql;

/// Name of the database.
pub const DATABASE: &str = "greenlang";
const SERVER: &str = include_str!("../data/1-server.sql");
const CONTENT: [&str; 3] = [
    include_str!("../data/2-transport.sql"),
    include_str!("../data/3-culture.sql"),
    include_str!("../data/4-world.sql"),
];

/// Loads the data set unless the server of the namespace has it. Says whether it had to.
pub async fn ensure(cluster: &Cluster, namespace: &str) -> Result<bool> {
    let mark = mark();
    let question =
        format!("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{DATABASE}'");
    if psql(cluster, namespace, "postgres", question).await?.trim_end() == mark {
        return Ok(false);
    }
    let folder = package::folder().await?;
    let script = script(&folder).await?;
    psql(cluster, namespace, "postgres", SERVER).await?;
    psql(cluster, namespace, DATABASE, script).await?;
    // Last, so that a data set without the mark is known to be half loaded.
    psql(cluster, namespace, "postgres", format!("COMMENT ON DATABASE {DATABASE} IS '{mark}'")).await?;
    Ok(true)
}

/// Names the version of the data set.
fn mark() -> String {
    let mut hash = Sha256::new();
    for part in [package::PACKAGE, SERVER].iter().chain(&CONTENT) {
        hash.update(part);
    }
    let digest = STANDARD.encode(hash.finalize());
    let digest = &digest[..12];
    format!("{} as {digest}", package::PACKAGE)
}

/// One psql script with all the data in it.
async fn script(folder: &Path) -> Result<Vec<u8>> {
    let mut script =
        b"SET client_min_messages = warning;\nCREATE TEMPORARY TABLE raw (doc jsonb);\n".to_vec();
    for line in CONTENT.iter().flat_map(|sql| sql.lines()) {
        match line.strip_prefix("--@") {
            Some(order) => expand(folder, order, &mut script).await.with_context(|| line.to_owned())?,
            None => script.extend(line.bytes().chain([b'\n'])),
        }
    }
    Ok(script)
}

async fn expand(folder: &Path, order: &str, script: &mut Vec<u8>) -> Result<()> {
    let (kind, rest) = order.split_once(' ').context("a file is missing")?;
    let (file, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let bytes =
        tokio::fs::read(folder.join(file)).await.with_context(|| format!("{file} is not in the package"))?;
    match kind {
        "csv" => {
            script.extend(format!("COPY {rest} FROM STDIN (FORMAT csv, HEADER);\n").bytes());
            // Line breaks of one kind, or COPY takes those of the other for data.
            script.extend(bytes.trim_ascii_end().iter().filter(|byte| **byte != b'\r'));
            script.extend(b"\n\\.\n");
        }
        "json" => {
            // JSON has no raw control characters within strings: line breaks may go, and two of them can serve as
            // quote and delimiter, so that nothing needs to be escaped.
            script.extend(
                b"TRUNCATE raw;\nCOPY raw FROM STDIN (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');\n",
            );
            script.extend(bytes.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
            script.extend(b"\n\\.\n");
        }
        "large-object" => {
            let mut statement =
                format!("INSERT INTO culture.picture VALUES ('{file}', lo_from_bytea(0, decode('");
            STANDARD.encode_string(&bytes, &mut statement);
            write!(statement, "', 'base64')));")?;
            script.extend(statement.bytes().chain([b'\n']));
        }
        _ => bail!("unknown order {kind:?}"),
    }
    Ok(())
}
