//! Objects in a real S3 server, read through connections that fail. A program that is missing fails the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bucket;
mod download;
mod proxy;
mod read_back;
mod unseal;
