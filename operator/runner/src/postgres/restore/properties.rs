//! Gives a loaded database what belongs to it as a whole, under its new name: rights, settings, labels, comment, and last its limit of
//! connections. Changes the server.

use std::collections::BTreeSet;

use greenlang_backup_api::contents::{DatabaseProperties, SecurityLabel};
use greenlang_backup_api::restore::RequestIdentity;

use super::databases::{comment_on, marked};
use super::{roles, session_settings};
use crate::error::RunError;
use crate::postgres::connect::{Session, quoted_identifier, quoted_literal};

/// A right to a database.
struct Grant {
    grantor: String,
    /// None means everybody.
    grantee: Option<String>,
    privilege: String,
    grantable: bool,
}

/// Settings by role, where they are of one, and name.
pub type Settings = BTreeSet<(Option<String>, String)>;

/// What the server refused.
#[derive(Debug, Default)]
pub struct Refused {
    pub settings: Settings,
    /// That, and what the backup does not have, in words.
    pub warnings: Vec<String>,
}

/// Replays the properties but for the limit of connections; the comment stands behind the mark until the database is in its place.
pub async fn replay(
    session: &Session,
    request: &RequestIdentity,
    name: &str,
    properties: &DatabaseProperties,
) -> Result<Refused, RunError> {
    let mut refused = Refused::default();
    let quoted = quoted_identifier(name);
    session.execute("BEGIN").await?;
    for setting in &properties.settings {
        let Some(assignment) = session_settings::assignment(setting) else {
            refused.warnings.push(format!(
                "parameter {} of the database could be a secret and is not in the backup: set it by hand",
                setting.name
            ));
            continue;
        };
        let statement = match &setting.role {
            None => format!("ALTER DATABASE {quoted} SET {assignment}"),
            Some(role) => {
                format!("ALTER ROLE {} IN DATABASE {quoted} SET {assignment}", quoted_identifier(role))
            }
        };
        if !roles::attempt(session, &statement, &mut refused.warnings).await? {
            refused.settings.insert((setting.role.clone(), setting.name.clone()));
        }
    }
    for label in &properties.security_labels {
        roles::attempt(session, &labelling(name, label), &mut refused.warnings).await?;
    }
    session.execute(&format!("ALTER DATABASE {quoted} WITH IS_TEMPLATE {}", properties.template)).await?;
    rights(session, &quoted, properties).await?;
    let comment = marked(request, properties.comment.as_deref());
    session.execute(&comment_on(name, Some(&comment))).await?;
    session.execute("COMMIT").await?;
    Ok(refused)
}

/// The statement that labels a database. Only a server that has loaded the provider takes it.
pub fn labelling(database: &str, label: &SecurityLabel) -> String {
    format!(
        "SECURITY LABEL FOR {} ON DATABASE {} IS {}",
        quoted_identifier(&label.provider),
        quoted_identifier(database),
        quoted_literal(&label.label)
    )
}

/// Sets how many connections the database allows. Last of all: the programs that verify and analyze need several, and a database may
/// allow fewer, or none.
pub async fn limit_connections(
    session: &Session,
    name: &str,
    properties: &DatabaseProperties,
) -> Result<(), RunError> {
    let (name, limit) = (quoted_identifier(name), properties.connection_limit);
    Ok(session.execute(&format!("ALTER DATABASE {name} WITH CONNECTION LIMIT {limit}")).await?)
}

/// Grants what the backup has, and nothing else: what the making of the database took away from everybody comes back only here. In a
/// transaction.
async fn rights(session: &Session, quoted: &str, properties: &DatabaseProperties) -> Result<(), RunError> {
    let owner = quoted_identifier(&properties.owner);
    let Some(acl) = &properties.acl else {
        session.execute(&format!("GRANT CONNECT, TEMPORARY ON DATABASE {quoted} TO PUBLIC")).await?;
        return Ok(());
    };
    let mut grants = explode(session, acl).await?;
    // Who passes a right on must have it first.
    grants.sort_by_key(|grant| grant.grantor != properties.owner);
    let mut statements = vec![format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC, {owner}")];
    for Grant { grantor, grantee, privilege, grantable } in grants {
        let grantee = grantee.map_or_else(|| "PUBLIC".to_owned(), |name| quoted_identifier(&name));
        let option = if grantable { " WITH GRANT OPTION" } else { "" };
        let grant = format!("GRANT {privilege} ON DATABASE {quoted} TO {grantee}{option}");
        if grantor == properties.owner {
            statements.push(grant);
        } else {
            statements.extend([
                format!("SET LOCAL ROLE {}", quoted_identifier(&grantor)),
                grant,
                "RESET ROLE".to_owned(),
            ]);
        }
    }
    session.execute(&statements.join("; ")).await?;
    Ok(())
}

/// Takes rights apart as the server does, which knows how names are quoted in them.
async fn explode(session: &Session, acl: &[String]) -> Result<Vec<Grant>, RunError> {
    const SQL: &str = "
        SELECT pg_catalog.pg_get_userbyid(a.grantor)::text,
            CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee)::text END, a.privilege_type, a.is_grantable
        FROM pg_catalog.unnest($1::text::text[]) WITH ORDINALITY AS item (text, place),
            LATERAL pg_catalog.aclexplode(ARRAY[item.text::aclitem]) a
        ORDER BY item.place";
    let array = array(acl);
    let grants = session
        .list_with(SQL, &[&array], |row| {
            Ok(Grant {
                grantor: row.try_get(0)?,
                grantee: row.try_get(1)?,
                privilege: row.try_get(2)?,
                grantable: row.try_get(3)?,
            })
        })
        .await?;
    Ok(grants)
}

/// Roles that a right names: who has it, unless that is everybody, and who gave it. The server takes apart only what names roles that
/// it has.
pub fn roles_of(item: &str) -> Vec<String> {
    let (grantee, rest) = name(item);
    let grantor = rest.split_once('/').map(|(_, grantor)| name(grantor).0);
    [Some(grantee), grantor].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// The name that a text begins with, in quotes where it needs them, and what follows it.
fn name(text: &str) -> (String, &str) {
    let Some(mut quoted) = text.strip_prefix('"') else {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        return (name.to_owned(), rest);
    };
    let mut name = String::new();
    while let Some((part, rest)) = quoted.split_once('"') {
        name.push_str(part);
        let Some(more) = rest.strip_prefix('"') else { return (name, rest) };
        name.push('"');
        quoted = more;
    }
    (name, "")
}

/// Texts as the server reads an array of them.
pub fn array(texts: &[String]) -> String {
    let quoted: Vec<String> =
        texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_roles_of_a_right_are_known() {
        for (item, expected) in [
            ("app=c*T/owner", &["app", "owner"][..]),
            ("=Tc/owner", &["owner"]),
            ("\"a=b/c\"=c/\"Größe \"\"x\"\" /y\"", &["a=b/c", "Größe \"x\" /y"]),
            ("\"=\"=c/o", &["=", "o"]),
        ] {
            assert_eq!(roles_of(item), expected, "{item}");
        }
    }

    #[test]
    fn a_label_is_given_under_the_new_name() {
        let label = SecurityLabel { provider: "an\"on".to_owned(), label: "MASKED 'all' \\".to_owned() };
        assert_eq!(
            labelling("shop_restore_1", &label),
            r#"SECURITY LABEL FOR "an""on" ON DATABASE "shop_restore_1" IS E'MASKED ''all'' \\'"#
        );
    }
}
