//! When a backup is made. No I/O; `plan` reads the cron expressions.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A schedule: when, and how long what it makes is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Name of the schedule, unique within the backup, for example `daily`.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Five cron fields (minute, hour, day of month, month, day of week), read in `spec.timeZone`. Names (`SUN`, `JAN`),
    /// steps (`*/15`), `#` (`SUN#1` is the first Sunday of the month) and `@daily`-like words are understood. When day of month and day of week
    /// are both given, either matches. A local time that daylight saving skips runs at the first instant after the gap; one that
    /// it repeats runs once. For example `0 2 * * *`.
    #[schemars(length(min = 1, max = 128))]
    pub cron: String,
    /// Days that backups of this schedule are kept; recorded in each manifest. 1 to 36500.
    #[schemars(range(min = 1, max = 36_500))]
    pub keep_days: u32,
    /// Start no run of this schedule while true; afterwards the latest slot that passed meanwhile is made up for. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
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
