//! Decides which backups `status.available` shows. Pure.

use greenlang_backup_api::v1alpha1::{AvailableBackup, MAX_AVAILABLE};
use jiff::Timestamp;

/// Puts the newest first and lets the oldest go. Those whose time is still to come (after `latest`) are last and go before any other: a
/// clock that was wrong, or somebody who can write to the bucket, may have made many, which must not hide what is real.
pub(super) fn keep_newest(available: &mut Vec<AvailableBackup>, latest: Timestamp) {
    let is_to_come = |entry: &AvailableBackup| entry.id.slot().is_ok_and(|slot| slot > latest);
    available.sort_by(|a, b| {
        let newest_first = || b.id.cmp(&a.id).then_with(|| a.backup.cmp(&b.backup));
        is_to_come(a).cmp(&is_to_come(b)).then_with(newest_first)
    });
    available.truncate(MAX_AVAILABLE);
}
