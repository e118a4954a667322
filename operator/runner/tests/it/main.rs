//! The real binary against a real PostgreSQL server and a real S3 server. A program that is missing fails the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod archive;
mod bucket;
mod clean_up;
mod clock;
mod contents;
mod faults;
mod fixture;
mod hand_made;
mod happy;
mod large_rows;
mod locks;
mod mid_run;
mod nested;
mod odd_databases;
mod owner;
mod pooler;
mod probe;
mod prune;
mod prune_faults;
mod prune_reports;
mod restore;
mod rights;
mod roles;
mod s3_faults;
mod shelf;
mod streams;
mod tls;
mod versions;
mod warnings;

use greenlang_backup_test_servers as servers;
