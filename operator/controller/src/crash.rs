//! Cut points for crash tests. Without the feature `crash-points` there is nothing here. I/O: the file that arms a cut.
//!
//! [`before_write`] cuts before any write of a pass, counted, so that a test can go through all of them without knowing which
//! there are. [`point`] cuts at a point with a name, for tests with real Jobs, whose writes of progress come at any time.

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

/// Called before each write that a pass makes, but for events. The file that `GREENLANG_CUT_FILE` names says what happens and after how
/// many more writes: `abort 3` ends the process before the fourth, as SIGKILL would; `stop 3` stops it there until somebody
/// lets it go on, as a node does that hangs. The file is gone when it happens.
#[cfg(feature = "crash-points")]
pub fn before_write() {
    let Ok(path) = std::env::var("GREENLANG_CUT_FILE") else { return };
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let Some((how, left)) = text.trim().split_once(' ') else { return };
    if let Some(left) = left.parse::<u64>().ok().and_then(|left| left.checked_sub(1)) {
        let _ = std::fs::write(&path, format!("{how} {left}"));
        return;
    }
    let _ = std::fs::remove_file(&path);
    tracing::warn!(how, "cut before a write");
    if how != "stop" {
        std::process::abort();
    }
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    // Another thread may be the one that is told, and this one may be some steps further until it stops too.
    while !std::path::Path::new(&format!("{path}.over")).exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Does nothing.
#[cfg(not(feature = "crash-points"))]
pub const fn before_write() {}
