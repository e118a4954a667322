//! Cut points for crash tests. Without the feature `crash-points` there is nothing here. No I/O.

/// Between the creation of a Job and the status write of that pass.
pub const JOB_CREATED: &str = "job-created";
/// Between the reading of an ended run and the status write that counts it.
pub const RUN_ENDED: &str = "run-ended";
/// Between the status write that counts a run and the deletion of its Job.
pub const RUN_COUNTED: &str = "run-counted";
/// Between the status write that decides a run and the creation of its Job.
pub const RUN_DECIDED: &str = "run-decided";

/// Aborts the process, as SIGKILL would, if the environment names this cut point.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    if std::env::var("GREENLANG_CRASH_AT").is_ok_and(|wanted| wanted == name) {
        tracing::warn!(name, "crash point");
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(feature = "crash-points"))]
pub const fn point(_: &str) {}
