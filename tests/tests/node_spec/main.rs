//! What a spec asks for is what runs; and one that cannot be carried out is said to be so, and runs nothing.

mod invalid;
mod job_template;

const NAMES: &[&str] = &["invalid", "template"];
