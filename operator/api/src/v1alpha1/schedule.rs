//! When a backup is made. No I/O; `plan` reads the cron expressions.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Stands for a schedule where runs are told that no schedule asked for, as in metrics. No schedule may have this name.
pub const MANUAL: &str = "manual";

/// A schedule: when, and how long what it makes is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.startingDeadlineSeconds) || !has(self.catchUp) || self.catchUp != 'None'",
    "startingDeadlineSeconds cannot be given with catchUp: None, which gives a slot up after 300 seconds: leave out one of them"),
    validation = ("self.name != 'manual'",
    "a schedule cannot be named manual: metrics tell runs that no schedule asked for by this name; use another one"))]
pub struct Schedule {
    /// Name of the schedule, unique within the backup, for example `daily`: at most 40 lower-case letters, digits and hyphens; not
    /// `manual`, by which metrics tell runs that no schedule asked for.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Five cron fields (minute, hour, day of month, month, day of week), read in `spec.timeZone`. Names (`SUN`, `JAN`),
    /// steps (`*/15`), `#` (`SUN#1` is the first Sunday of the month) and `@daily`-like words are understood. When day of month and day of week
    /// are both given, either matches. A local time that daylight saving skips runs at the first instant after the gap; one that
    /// it repeats runs once. With `*` in the hour, or more than 24 times a day, what it skips is left out and what it repeats runs
    /// twice. Up to 128 characters, for example `0 2 * * *`.
    #[schemars(length(min = 1, max = 128))]
    pub cron: String,
    /// Days that backups of this schedule are kept, counted from the end of each to the newest backup; recorded in each manifest, which
    /// counts for schedules that the spec no longer has. 1 to 36500.
    #[schemars(range(min = 1, max = 36_500))]
    pub keep_days: u32,
    /// So many of the newest good backups of this schedule are kept, however old they are. 1 to 1000. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub keep_at_least: Option<u32>,
    /// Start no run of this schedule while true; afterwards the latest slot that passed meanwhile is made up for, unless
    /// `catchUp` or `startingDeadlineSeconds` says otherwise. An active run goes on. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// What becomes of slots that passed without a run: `Latest` makes up for the newest of them, `None` for none: a run that
    /// cannot start within 300 seconds of its slot (and jitter) is missed. A slot that is
    /// not made up for is counted in status (`missed`) and told by an event. Slots before the policy was created, or before
    /// `cron` or `timeZone` changed, never count. Default: `Latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// Seconds after its slot (and jitter) in which a run may still start; a later one is missed. 10 to 604800. Not with
    /// `catchUp: None`, where it is 300. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 604_800))]
    pub starting_deadline_seconds: Option<u32>,
    /// What a slot does while a run of the same backup goes on, whichever schedule that is for: `Forbid` waits for its end;
    /// `Allow` starts beside it, four at most; `Replace` stops it, which counts as a failure, and starts once its Pod is gone.
    /// Where schedules coincide in one run, the first of these three that one of them has counts. Default: `Forbid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// Most seconds by which a run starts later than its slot, so that many policies do not start in one second. The delay of a
    /// slot is always the same, shorter than the time to the next slot, and changes no id. 0 to 86400. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub jitter_seconds: Option<u32>,
    /// Seconds after which an attempt is stopped and counts as failed. 60 to 604800. Default: 86400 (one day).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 604_800))]
    pub active_deadline_seconds: Option<u32>,
    /// How often a failed attempt is tried again before the run counts as failed; failures that no retry can mend are not
    /// tried again. 0 to 10. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10))]
    pub backoff_limit: Option<u32>,
}

/// What becomes of slots that passed without a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum CatchUp {
    /// The newest of them is made up for.
    #[default]
    Latest,
    /// None is made up for.
    None,
}

/// What a slot does while a run of the same backup goes on. In this order: the more careful is the lesser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "")]
pub enum ConcurrencyPolicy {
    /// It waits for the end of that run; of several that wait, the newest is made.
    #[default]
    Forbid,
    /// It starts beside that run, up to four runs of one backup at once.
    Allow,
    /// That run is stopped and counts as failed; once its Pod is gone, the slot starts.
    Replace,
}
