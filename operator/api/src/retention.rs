//! What a prune is told of how long backups are kept, and who needs which. Pure.

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::names::BackupId;

/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 16;

/// How long the backups of one path are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// The schedules of the spec. A backup of a schedule that the spec no longer has is kept as long as its manifest says, and one that
    /// was made under another name at least so long.
    pub schedules: Vec<ScheduleRetention>,
    /// Days that backups which no schedule asked for are kept.
    pub manual_keep_days: u32,
    /// Whether the newest run that no schedule asked for failed.
    pub manual_failed: bool,
    /// Backups that people pinned by annotation.
    pub pins: Vec<BackupId>,
    /// Backups that people pinned under the names of other backups of the policy: those that were made under another name stay for them,
    /// should one of them have had this path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_pins: Vec<BackupId>,
    /// Backups that a restore or an undo needs.
    pub needed: Vec<NeededBackup>,
    /// Why nothing at all may be deleted; none if something may.
    pub hold: Option<String>,
}

impl Retention {
    /// Short text that changes with any of it.
    pub fn digest(&self) -> String {
        let mut digits = digest::sha256(serde_json::to_vec(self).unwrap_or_default());
        digits.truncate(DIGEST_DIGITS);
        digits
    }
}

/// How long the backups of one schedule are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRetention {
    /// Name of the schedule.
    pub name: String,
    /// Days to keep.
    pub keep_days: u32,
    /// So many of the newest good backups stay, however old they are; 0 counts as 1.
    pub keep_at_least: u32,
    /// Whether the newest run that has ended failed.
    pub newest_failed: bool,
}

/// A backup that something else needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeededBackup {
    /// The backup.
    pub id: BackupId,
    /// What needs it, in words.
    pub by: String,
}
