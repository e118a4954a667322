//! What it was measured with. Asks programs for their versions.

use greenlang_backup_bench::versions::{project, said, versitygw};
use greenlang_backup_bench::world::World;
use greenlang_backup_test_servers::CLIENTS;

/// Every program that was measured, as it names itself.
pub fn versions(world: &World) -> Vec<String> {
    let server = world.postgres.sql("postgres", "SHOW server_version");
    let pg_dump = format!("{CLIENTS}/pg_dump");
    let programs: [(&str, &[&str]); 6] = [
        (&pg_dump, &["--version"]),
        ("zstd", &["--version"]),
        ("age", &["--version"]),
        ("openssl", &["version"]),
        ("tar", &["--version"]),
        ("aws", &["--version"]),
    ];
    let asked = programs.iter().map(|(program, arguments)| {
        let name = program.rsplit('/').next().unwrap_or(program);
        format!("{name}: {}", said(program, arguments))
    });
    [format!("PostgreSQL server: {}", server.trim()), project()]
        .into_iter()
        .chain(asked)
        .chain([versitygw()])
        .collect()
}
