//! Judges what `pg_dump` and `pg_dumpall` say on stderr although they ended well: what is known to leave a dump that can be
//! relied on is kept, its kind in the manifest and its words, which may name tables, in the encrypted list of contents;
//! anything else makes the attempt fail. Pure. The programs run with `LC_ALL=C.UTF-8`, so
//! they speak English.

/// A message that is known, from the sources of PostgreSQL 14 to 18.
struct Known {
    /// What the manifest, which nobody encrypts, says of it: no name of anything in a database.
    kind: &'static str,
    /// How its first line begins.
    start: &'static str,
    /// How that line ends.
    end: &'static str,
    /// How lines begin that may follow it.
    follow: &'static [&'static str],
}

/// Of the programs, without `pg_dump: ` before it.
const OF_PROGRAMS: &[Known] = &[
    // Configuration tables of an extension that refer to each other: all rows are there, in an order that the foreign
    // keys may refuse. Before 15 details and hints had no word before them.
    Known {
        kind: CIRCULAR_KIND,
        start: "warning: there are circular foreign-key constraints on this table:",
        end: "",
        follow: CIRCULAR,
    },
    Known {
        kind: CIRCULAR_KIND,
        start: "warning: there are circular foreign-key constraints among these tables:",
        end: "",
        follow: CIRCULAR,
    },
    // Definitions of subscriptions hold passwords, so only a superuser may read them. No row is lost.
    Known {
        kind: "subscriptions are not in the dump, because the user is no superuser",
        start: "warning: subscriptions not dumped because current user is not a superuser",
        end: "",
        follow: &[],
    },
    // Privileges that an extension set on an object of a kind that has none in a dump.
    Known {
        kind: "rights that an extension set on an object of a kind that has none in a dump",
        start: "warning: unsupported pg_init_privs entry: ",
        end: "",
        follow: &[],
    },
    // What is left in pg_auth_members of roles that were dropped: there is nothing to restore.
    Known {
        kind: DROPPED_KIND,
        start: "warning: found orphaned pg_auth_members entry for role ",
        end: "",
        follow: &[],
    },
    Known {
        kind: DROPPED_KIND,
        start: "warning: ignoring role grant for missing role with OID ",
        end: "",
        follow: &[],
    },
    Known {
        kind: DROPPED_KIND,
        start: "warning: ignoring role grant to missing role with OID ",
        end: "",
        follow: &[],
    },
    Known {
        kind: "memberships are dumped without their grantor, which was dropped",
        start: "warning: grant of role ",
        end: "",
        follow: &["detail: This grant will be dumped without GRANTED BY."],
    },
];

const CIRCULAR_KIND: &str = "circular foreign keys among configuration tables of an extension";
const DROPPED_KIND: &str = "remains of memberships of roles that were dropped";

const CIRCULAR: &[&str] = &[
    "detail: ",
    "  ",
    "hint: You might not be able to restore the dump without using --disable-triggers",
    "hint: Consider using a full dump instead of a --data-only dump",
    "You might not be able to restore the dump without using --disable-triggers",
    "Consider using a full dump instead of a --data-only dump",
];

/// Of the server while it lets a program in; the programs themselves keep later ones back.
const OF_SERVER: &[Known] = &[
    // Of the indexes of the source: a dump reads rows, and a restore builds its own indexes.
    Known {
        kind: "indexes of the source were made with another version of its collation",
        start: "WARNING:  database \"",
        end: "\" has a collation version mismatch",
        follow: &[
            "DETAIL:  The database was created using collation version ",
            "HINT:  Rebuild all objects ",
        ],
    },
    Known {
        kind: "the collation of the source has no version any more",
        start: "WARNING:  database \"",
        end: "\" has no actual collation version, but a version was recorded",
        follow: &[],
    },
];

impl Known {
    fn begins(&self, text: &str) -> bool {
        text.strip_prefix(self.start).is_some_and(|rest| rest.ends_with(self.end))
    }

    fn goes_on(&self, text: &str) -> bool {
        self.follow.iter().any(|start| text.starts_with(start))
    }
}

/// What a program warned of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    program: &'static str,
    /// What it dumped.
    subject: String,
    kind: &'static str,
    text: String,
}

impl Warning {
    /// All of it, which may name tables.
    pub fn in_full(&self) -> String {
        format!("{} of {}: {}", self.program, self.subject, self.text)
    }
}

/// One line for each kind of warning of each program: what may be read by whoever reads the manifest.
pub fn in_clear(warnings: &[Warning]) -> Vec<String> {
    let mut counted: Vec<(&Warning, usize)> = Vec::new();
    for warning in warnings {
        let same = |(first, _): &&mut (&Warning, usize)| {
            (first.program, &first.subject, first.kind) == (warning.program, &warning.subject, warning.kind)
        };
        match counted.iter_mut().find(same) {
            Some((_, count)) => *count += 1,
            None => counted.push((warning, 1)),
        }
    }
    let line = |(Warning { program, subject, kind, .. }, count): (&Warning, usize)| {
        format!("{program} of {subject}: {kind} ({count} warnings; in full in contents.json)")
    };
    counted.into_iter().map(line).collect()
}

/// Takes the lines that a program said of what it dumped, and returns its warnings, or the first line that is not known.
pub fn judge<'a>(program: &'static str, subject: &str, lines: &'a [String]) -> Result<Vec<Warning>, &'a str> {
    let prefix = format!("{program}: ");
    let mut warnings: Vec<Warning> = Vec::new();
    let mut current: Option<&Known> = None;
    for line in lines {
        let (text, known) = match line.strip_prefix(&prefix) {
            Some(text) => (text, OF_PROGRAMS),
            None => (line.as_str(), OF_SERVER),
        };
        match (current, warnings.last_mut()) {
            (Some(message), Some(warning)) if message.goes_on(text) => {
                warning.text.push(' ');
                warning.text.push_str(text.trim_start());
            }
            _ => {
                let found = known.iter().find(|known| known.begins(text)).ok_or(line.as_str())?;
                current = Some(found);
                warnings.push(Warning {
                    program,
                    subject: subject.to_owned(),
                    kind: found.kind,
                    text: text.strip_prefix("warning: ").unwrap_or(text).to_owned(),
                });
            }
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(program: &'static str, text: &str) -> Result<Vec<String>, String> {
        judged(program, text).map(|warnings| warnings.into_iter().map(|warning| warning.text).collect())
    }

    fn judged(program: &'static str, text: &str) -> Result<Vec<Warning>, String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        judge(program, "database d", &lines).map_err(str::to_owned)
    }

    #[test]
    fn the_manifest_names_no_table() {
        let circular = "pg_dump: warning: there are circular foreign-key constraints on this table:\npg_dump: detail: patients\n";
        let text = format!(
            "{circular}{circular}pg_dump: warning: subscriptions not dumped because current user is not a superuser"
        );
        let warnings = judged("pg_dump", &text).unwrap();
        assert!(warnings[0].in_full().starts_with("pg_dump of database d: there are"));
        assert!(warnings[0].in_full().ends_with("patients"));
        let clear = in_clear(&warnings);
        assert_eq!(
            clear,
            [
                "pg_dump of database d: circular foreign keys among configuration tables of an extension (2 warnings; in full in contents.json)",
                "pg_dump of database d: subscriptions are not in the dump, because the user is no superuser (1 warnings; in full in contents.json)",
            ]
        );
    }

    #[test]
    fn what_is_known_becomes_one_warning_each() {
        let said = said(
            "pg_dump",
            "WARNING:  database \"a b\" has a collation version mismatch\n\
             DETAIL:  The database was created using collation version 2.31, but the operating system provides version 2.36.\n\
             HINT:  Rebuild all objects in this database that use the default collation and run ALTER DATABASE \"a b\" REFRESH COLLATION VERSION, or build PostgreSQL with the right library version.\n\
             pg_dump: warning: there are circular foreign-key constraints among these tables:\n\
             pg_dump: detail: hypertable\n\
             pg_dump: detail: chunk\n\
             pg_dump: hint: You might not be able to restore the dump without using --disable-triggers or temporarily dropping the constraints.\n\
             pg_dump: hint: Consider using a full dump instead of a --data-only dump to avoid this problem.\n\
             pg_dump: warning: subscriptions not dumped because current user is not a superuser",
        )
        .unwrap();
        assert_eq!(said.len(), 3, "{said:#?}");
        assert!(said[0].ends_with("right library version."), "{}", said[0]);
        assert!(
            said[1].starts_with("there are circular foreign-key constraints among these tables: detail: hypertable detail: chunk hint: You might"),
            "{}",
            said[1]
        );
        assert_eq!(said[2], "subscriptions not dumped because current user is not a superuser");
    }

    #[test]
    fn older_programs_have_no_word_before_details() {
        let said = said(
            "pg_dump",
            "pg_dump: warning: there are circular foreign-key constraints on this table:\n\
             pg_dump:   observation\n\
             pg_dump: You might not be able to restore the dump without using --disable-triggers or temporarily dropping the constraints.\n\
             pg_dump: Consider using a full dump instead of a --data-only dump to avoid this problem.",
        );
        assert_eq!(said.unwrap().len(), 1);
    }

    #[test]
    fn each_message_of_the_programs_is_judged() {
        let table = [
            ("pg_dumpall", "pg_dumpall: warning: found orphaned pg_auth_members entry for role 16401", true),
            ("pg_dumpall", "pg_dumpall: warning: ignoring role grant for missing role with OID 16401", true),
            ("pg_dumpall", "pg_dumpall: warning: ignoring role grant to missing role with OID 16401", true),
            (
                "pg_dumpall",
                "pg_dumpall: warning: grant of role \"a\" to \"b\" has invalid grantor OID 16401\n\
                 pg_dumpall: detail: This grant will be dumped without GRANTED BY.",
                true,
            ),
            ("pg_dump", "pg_dump: warning: unsupported pg_init_privs entry: 1418 16401 0", true),
            (
                "pg_dump",
                "WARNING:  database \"x\" has no actual collation version, but a version was recorded",
                true,
            ),
            // Only what the program at hand says, and details only after their message.
            ("pg_dump", "pg_dumpall: warning: found orphaned pg_auth_members entry for role 16401", false),
            ("pg_dump", "pg_dump: detail: public.t", false),
            ("pg_dump", "DETAIL:  The database was created using collation version 1", false),
            (
                "pg_dump",
                "pg_dump: warning: subscriptions not dumped because current user is not a superuser\npg_dump: detail: x",
                false,
            ),
            // What loses something, or might.
            ("pg_dump", "pg_dump: warning: unexpected extra results during COPY of table \"t\"", false),
            ("pg_dump", "pg_dump: warning: could not resolve dependency loop among these items:", false),
            ("pg_dump", "pg_dump: warning: typtype of data type \"t\" appears to be invalid", false),
            ("pg_dump", "pg_dump: warning: could not parse reloptions array", false),
            ("pg_dump", "pg_dump: warning: invalid collation \"c\"", false),
            ("pg_dump", "pg_dump: warning: archive items not in correct section order", false),
            ("pg_dumpall", "pg_dumpall: warning: role name starting with \"pg_\" skipped (pg_x)", false),
            // What nobody has seen.
            ("pg_dump", "WARNING:  something of the server", false),
            ("pg_dump", "pg_dump: error: but it ended well", false),
            ("pg_dump", "pg_dump: a word", false),
            ("pg_dump", "ld.so: object could not be loaded", false),
            ("pg_dump", "", true),
        ];
        for (program, text, known) in table {
            assert_eq!(said(program, text).is_ok(), known, "{text}");
        }
    }

    #[test]
    fn the_line_that_is_not_known_is_named() {
        let text = "pg_dump: warning: there are circular foreign-key constraints on this table:\n\
                    pg_dump: detail: t\npg_dump: warning: no such thing\npg_dump: detail: more";
        assert_eq!(said("pg_dump", text).unwrap_err(), "pg_dump: warning: no such thing");
    }
}
