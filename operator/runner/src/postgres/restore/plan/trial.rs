//! Tries what the backup's database is set to on the server, in a transaction that is rolled back. What the server refuses is left out
//! of a restore, and said here before it begins. Asks the server.

use greenlang_backup_api::contents::DatabaseContents;

use super::super::{roles, session_settings};
use super::Findings;
use crate::error::RunError;
use crate::postgres::connect::Session;

/// Tried on the user itself, who may set its own whatever else it may do; the server judges names and values of all settings alike.
pub async fn settings(
    session: &Session,
    contents: &DatabaseContents,
    findings: &mut Findings,
) -> Result<(), RunError> {
    session.execute("BEGIN; SET LOCAL transaction_read_only = off").await?;
    for setting in &contents.properties.settings {
        let Some(assignment) = session_settings::assignment(setting) else { continue };
        let statement = format!("ALTER ROLE CURRENT_USER SET {assignment}");
        if let Some(refused) = roles::refusal(session, &statement).await? {
            let role = setting.role.as_deref().map_or_else(String::new, |role| format!(" (role {role})"));
            findings.warn(format!(
                "the server refuses parameter {} of the database{role}, which is left out: {refused}",
                setting.name
            ));
        }
    }
    session.execute("ROLLBACK").await?;
    Ok(())
}
