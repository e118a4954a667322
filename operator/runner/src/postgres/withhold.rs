//! Decides which values of settings could be secrets. Pure. Rather too many than too few: a setting can be looked up on the
//! server, and a secret that lies in every backup cannot be called back.

/// Parameters of PostgreSQL that hold secrets by their nature.
const SECRET: &[&str] = &["ssl_passphrase_command"];
/// Parameters of PostgreSQL that may look like secrets (a library is called `passwordcheck`) and hold none.
const HARMLESS: &[&str] = &[
    "password_encryption",
    "ssl_passphrase_command_supports_reload",
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
];
/// Options of `pg_hba.conf` that hold secrets.
const SECRET_OPTIONS: &[&str] = &["ldapbindpasswd", "radiussecrets"];
/// Parts of names and values that speak of secrets.
const WORDS: &[&str] = &[
    "passw",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private_key",
    "privatekey",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "encryption_key",
    "jwt",
    "bearer",
];

/// Whether the value of a parameter could be a secret, or hold one: a password in `primary_conninfo`, a key in an
/// `archive_command`, what an application keeps in settings of its own.
pub fn could_be_secret(name: &str, value: &str) -> bool {
    if value.is_empty() || HARMLESS.contains(&name) {
        return false;
    }
    SECRET.contains(&name) || speaks_of_secrets(name) || speaks_of_secrets(value) || has_user_info(value)
}

/// The name alone of an option of `pg_hba.conf` whose value could be a secret.
pub fn without_secret(option: &str) -> Option<String> {
    let (name, value) = option.split_once('=')?;
    let secret = SECRET_OPTIONS.contains(&name) || could_be_secret(name, value);
    secret.then(|| name.to_owned())
}

fn speaks_of_secrets(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}

/// Whether there is a URL with a user and a password in a text.
fn has_user_info(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ', '\'', '"']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_could_be_secrets_are_found() {
        let table = [
            ("primary_conninfo", "host=db user=rep password=hunter2", true),
            ("primary_conninfo", "postgresql://rep:hunter2@db:5432/postgres", true),
            ("primary_conninfo", "host=db user=rep passfile=/var/lib/pgpass", false),
            ("ssl_passphrase_command", "echo hunter2", true),
            ("ssl_passphrase_command", "", false),
            ("ssl_passphrase_command_supports_reload", "off", false),
            ("archive_command", "AWS_SECRET_ACCESS_KEY=hunter2 wal-g wal-push %p", true),
            ("archive_command", "curl -T %p https://a:hunter2@example.org/%f", true),
            ("archive_command", "wal-g wal-push %p", false),
            ("app.jwt_secret", "hunter2", true),
            ("app.Settings.ApiKey", "hunter2", true),
            ("pgrst.db_uri", "postgres://a@db/x", false),
            ("password_encryption", "scram-sha-256", false),
            ("work_mem", "4096", false),
            ("shared_preload_libraries", "passwordcheck", false),
            ("listen_addresses", "*", false),
            ("log_line_prefix", "%m [%p] user=%u:%h@x ", false),
        ];
        for (name, value, secret) in table {
            assert_eq!(could_be_secret(name, value), secret, "{name} = {value}");
        }
    }

    #[test]
    fn options_keep_their_names() {
        let table = [
            ("ldapbindpasswd=hunter2", Some("ldapbindpasswd")),
            ("radiussecrets=hunter2", Some("radiussecrets")),
            ("ldapserver=ldap.example.org", None),
            ("ldapurl=ldap://a:hunter2@example.org/dc=x", Some("ldapurl")),
            ("map=m", None),
            ("clientcert=verify-full", None),
        ];
        for (option, name) in table {
            assert_eq!(without_secret(option).as_deref(), name, "{option}");
        }
    }
}
