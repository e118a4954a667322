//! Settings that sessions start with, as `ALTER … SET` takes them. Pure.

use greenlang_backup_api::globals::Setting;

use crate::postgres::connect::{quoted_identifier, quoted_literal};

/// Parameters whose values are lists of names; the catalog has such a list in one text (`GUC_LIST_QUOTE` of PostgreSQL).
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// What follows SET; none where the value was left out of the backup.
pub fn assignment(setting: &Setting) -> Option<String> {
    let value = setting.value.as_ref()?;
    let name: Vec<String> = setting.name.split('.').map(quoted_identifier).collect();
    let values = if LISTS.contains(&setting.name.to_ascii_lowercase().as_str()) {
        let names: Vec<String> = list(value).iter().map(|name| quoted_literal(name)).collect();
        // An empty list is the empty name.
        if names.is_empty() { "''".to_owned() } else { names.join(", ") }
    } else {
        quoted_literal(value)
    };
    Some(format!("{} TO {values}", name.join(".")))
}

/// The names of a list: separated by commas, quoted where they need it, with quotes doubled within.
fn list(value: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => (quoted, any) = (!quoted, true),
            ',' if !quoted => {
                names.push(std::mem::take(&mut name));
                any = false;
            }
            character if character.is_whitespace() && !quoted => {}
            character => {
                name.push(character);
                any = true;
            }
        }
    }
    if any || !names.is_empty() {
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(name: &str, value: &str) -> String {
        let setting =
            Setting { database: None, role: None, name: name.to_owned(), value: Some(value.to_owned()) };
        assignment(&setting).unwrap()
    }

    #[test]
    fn values_are_quoted_as_the_server_reads_them() {
        for (name, value, expected) in [
            ("search_path", "app, public", "\"search_path\" TO 'app', 'public'"),
            ("search_path", "\"$user\", \"a, \"\"b\"\"\"", "\"search_path\" TO '$user', 'a, \"b\"'"),
            ("search_path", "", "\"search_path\" TO ''"),
            ("search_path", "\"\"", "\"search_path\" TO ''"),
            ("work_mem", "8MB", "\"work_mem\" TO '8MB'"),
            ("app.it's", "a\\b'c", "\"app\".\"it's\" TO E'a\\\\b''c'"),
            ("datestyle", "ISO, MDY", "\"datestyle\" TO 'ISO, MDY'"),
        ] {
            assert_eq!(assigned(name, value), expected);
        }
    }
}
