//! What is decided of a backup, with the reason in a word that never changes and in a sentence. Pure.

use std::fmt;

use jiff::Timestamp;

/// Reason of a backup that goes because its days are over.
pub const EXPIRED: &str = "Expired";

/// What becomes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Keep),
    /// It goes.
    Delete {
        /// Days that it was to be kept.
        days: u32,
        /// When they were over.
        expired: Timestamp,
    },
}

/// Why a backup stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its days are not over.
    Young {
        /// When they will be.
        until: Timestamp,
    },
    /// It is from after now: some clock was or is wrong.
    Future,
    /// It is among the newest of a schedule.
    AtLeast {
        /// The schedule.
        schedule: String,
    },
    /// It is the newest of all of its name.
    Newest,
    /// The newest run failed.
    NewestRunFailed {
        /// Of which schedule; none for runs that no schedule asked for.
        schedule: Option<String>,
    },
    /// Somebody pinned it.
    Pinned,
    /// A restore or an undo needs it.
    Needed {
        /// Which.
        by: String,
    },
    /// Nothing may be deleted at present.
    Held {
        /// Why.
        why: String,
    },
    /// Half of the backups of its schedule go already.
    Half {
        /// The schedule; empty for backups that no schedule asked for.
        schedule: String,
    },
}

impl Verdict {
    /// Stable reason, for reports that programs read.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Delete { .. } => EXPIRED,
            Self::Keep(keep) => keep.reason(),
        }
    }
}

impl Keep {
    /// Stable reason, for reports that programs read.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Young { .. } => "WithinKeepDays",
            Self::Future => "FromTheFuture",
            Self::AtLeast { .. } => "KeepAtLeast",
            Self::Newest => "Newest",
            Self::NewestRunFailed { .. } => "NewestRunFailed",
            Self::Pinned => "Pinned",
            Self::Needed { .. } => "Needed",
            Self::Held { .. } => "Held",
            Self::Half { .. } => "HalfAtMost",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete { days, expired } => write!(f, "its {days} days were over at {expired}"),
            Self::Keep(keep) => keep.fmt(f),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Young { until } => write!(f, "its days are over at {until}"),
            Self::Future => f.write_str("it is from the future: a clock was or is wrong"),
            Self::AtLeast { schedule } => {
                write!(f, "it is among the newest good ones of schedule {schedule} (keepAtLeast)")
            }
            Self::Newest => f.write_str("it is the newest good backup of its name"),
            Self::NewestRunFailed { schedule: Some(schedule) } => {
                write!(
                    f,
                    "the newest run of schedule {schedule} failed: nothing is deleted until one succeeds"
                )
            }
            Self::NewestRunFailed { schedule: None } => f.write_str(
                "the newest run by hand failed: nothing of the kind is deleted until one succeeds",
            ),
            Self::Pinned => f.write_str("it is pinned"),
            Self::Needed { by } => write!(f, "{by} needs it"),
            Self::Held { why } => f.write_str(why),
            Self::Half { schedule } if schedule.is_empty() => {
                f.write_str("no more than half of the backups by hand go at once")
            }
            Self::Half { schedule } => {
                write!(f, "no more than half of the backups of schedule {schedule} go at once")
            }
        }
    }
}
