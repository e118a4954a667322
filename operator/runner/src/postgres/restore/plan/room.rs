//! What a restore takes of the disks of the server: the room of a database, and its WAL. How much is free no function tells, so that
//! is said and not judged. Asks the server.

use greenlang_backup_api::v1alpha1::RestoreStrategy;

use super::Findings;
use crate::error::RunError;
use crate::postgres::connect::Session;

/// What people should know; nothing where there is no backup.
pub async fn needed(
    session: &Session,
    strategy: RestoreStrategy,
    findings: &mut Findings,
) -> Result<(), RunError> {
    const SLOTS: &str = "
        SELECT count(*), (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size')
        FROM pg_catalog.pg_replication_slots";
    let Some(backup) = &findings.plan.backup else { return Ok(()) };
    let (expected, target) = (backup.expected_bytes, findings.plan.target.as_ref());
    let present = target.and_then(|target| target.present_bytes);
    let (slots, keep): (i64, Option<i64>) =
        session.only(SLOTS, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?;
    let said = [space(strategy, expected, present), expected.and_then(|bytes| log(bytes, slots, keep))];
    findings.plan.warnings.extend(said.into_iter().flatten());
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The room that is wanted, beside what the present database has.
fn space(strategy: RestoreStrategy, expected: Option<u64>, present: Option<u64>) -> Option<String> {
    const UNCHECKED: &str = "PostgreSQL has no function that tells how much is free, so that was not checked: look at the disks of the server";
    let expects = match expected {
        Some(bytes) => format!("about {}", mebibytes(bytes)),
        None => "nobody knows how much".to_owned(),
    };
    let has =
        present.map_or_else(String::new, |bytes| format!(" (the present one has {})", mebibytes(bytes)));
    if strategy != RestoreStrategy::Replace {
        return Some(format!("the server needs room for a second database, {expects}{has}; {UNCHECKED}"));
    }
    // What is dropped first makes room.
    let fits = expected.is_some_and(|bytes| bytes <= present.unwrap_or_default());
    (!fits).then(|| format!("the server needs room for the new database, {expects}{has}; {UNCHECKED}"))
}

/// What so many bytes of log mean for who follows it. `keep` is `max_slot_wal_keep_size` in MiB; below zero there is no limit.
fn log(bytes: u64, slots: i64, keep: Option<i64>) -> Option<String> {
    let wal = format!("loading writes about {} of WAL", mebibytes(bytes));
    match u64::try_from(keep?) {
        _ if slots == 0 => None,
        Ok(keep) if keep.saturating_mul(1 << 20) >= bytes => None,
        Ok(keep) => Some(format!(
            "{wal}, more than max_slot_wal_keep_size ({keep} MiB): {slots} replication slots are lost if their readers do not keep up"
        )),
        Err(_) => Some(format!(
            "{wal}, and {slots} replication slots keep it on the disk until their readers have it: max_slot_wal_keep_size sets no limit"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_room_that_is_wanted_is_told_beside_what_there_is() {
        use RestoreStrategy::{NewDatabase, Replace, Swap};
        let said = |strategy, expected, present| space(strategy, expected, present).unwrap_or_default();
        let swap = said(Swap, Some(130 * MIB + 1), Some(90 * MIB));
        assert!(
            swap.starts_with("the server needs room for a second database, about 131 MiB (the present one has 90 MiB); PostgreSQL has no function that tells how much is free"),
            "{swap}"
        );
        assert!(said(NewDatabase, Some(MIB), None).contains("second database, about 1 MiB; "));
        assert!(said(Swap, None, Some(MIB)).contains("nobody knows how much (the present one has 1 MiB)"));
        assert_eq!(said(Replace, Some(MIB), Some(MIB)), "");
        assert!(said(Replace, Some(2 * MIB), Some(MIB)).contains("new database, about 2 MiB (the present"));
        assert!(said(Replace, Some(MIB), None).contains("new database, about 1 MiB; "));
        assert!(said(Replace, None, Some(MIB)).contains("nobody knows how much"));
    }

    #[test]
    fn the_log_that_is_written_is_compared_with_what_slots_may_keep() {
        let said = |slots, keep| log(3 * MIB, slots, keep).unwrap_or_default();
        for (slots, keep) in [(0, Some(1)), (0, Some(-1)), (2, Some(3)), (2, None)] {
            assert_eq!(said(slots, keep), "", "{slots} {keep:?}");
        }
        let lost = said(2, Some(2));
        assert!(
            lost.contains("about 3 MiB of WAL, more than max_slot_wal_keep_size (2 MiB): 2 replication"),
            "{lost}"
        );
        assert!(said(1, Some(-1)).contains("sets no limit"));
    }
}
