//! Every decision of the operator as plain functions over plain data: no I/O, no clock, no randomness, no async.

pub mod backup_policy;
pub mod job;
pub mod job_state;
pub mod jobs;
pub mod overdue;
mod pause;
pub mod queue;
pub mod restore_request;
pub mod retention;
pub mod schedule;
