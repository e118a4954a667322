//! Turns a spec into a form that cannot be wrong, or says which field is. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytesize::ByteSize;
use greenlang_backup_api::labels::RUN_PREFIX;
use greenlang_backup_api::manifest::PolicyIdentity;
use greenlang_backup_api::names::BackupId;
use greenlang_backup_api::reasons;
use greenlang_backup_api::task::{Bucket, MountedSecret, PostgresServer, Seal};
use greenlang_backup_api::v1alpha1::{
    Backup, BackupKind, BackupPolicy, CatchUp, ConcurrencyPolicy, FirstRun, JobTemplate, MANUAL,
    MAX_SCHEDULES, Postgres, RolePasswords, S3Storage, Schedule, SecretRef,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::annotations::{Annotations, short};
use crate::schedule::{Cadence, CadenceError, time_zone};

/// Directories where Jobs find their Secrets.
const S3_CREDENTIALS: &str = "/run/secrets/greenlang/s3";
const S3_CA: &str = "/run/secrets/greenlang/s3-ca";
pub(crate) const DATABASE_CREDENTIALS: &str = "/run/secrets/greenlang/database";
pub(crate) const DATABASE_CA: &str = "/run/secrets/greenlang/database-ca";

/// A spec that can be carried out.
#[derive(Clone, Debug)]
pub struct ValidatedPolicy {
    /// Namespace, name, UID.
    pub identity: PolicyIdentity,
    /// Generation of the spec.
    pub generation: i64,
    /// When the policy was created.
    pub created: Timestamp,
    /// No scheduled run is to start.
    pub suspend: bool,
    /// When the first backups are made.
    pub first_run: FirstRun,
    /// Where backups go.
    pub bucket: Bucket,
    /// How they are sealed.
    pub seal: Seal,
    /// The server that dumps come from.
    pub server: Option<PostgresServer>,
    /// What is backed up.
    pub backups: Vec<ValidatedBackup>,
    /// Bytes stored above which a backup is not read again.
    pub read_back_limit: u64,
    /// Seconds without progress after which an attempt is given up.
    pub stall_seconds: u32,
    /// Days that unscheduled runs are kept.
    pub manual_keep_days: u32,
    /// No backup is to be deleted.
    pub suspend_retention: bool,
    /// Backups that annotations pin, by backup.
    pub pins: BTreeMap<String, Vec<BackupId>>,
    /// An annotation that is to pin something and does not say what.
    pub unreadable_pin: Option<String>,
    /// Value of the annotation that asks for a dry run of the deletion.
    pub prune_token: Option<String>,
    /// Id of the owner whose place in the bucket the policy may take.
    pub adopt: Option<String>,
    /// Values of the run annotation, by backup.
    pub run_tokens: BTreeMap<String, String>,
    /// Settings of the Pods.
    pub job_template: JobTemplate,
}

/// One thing to back up.
#[derive(Clone, Debug)]
pub struct ValidatedBackup {
    /// Name.
    pub name: String,
    /// Directory in the bucket.
    pub path: String,
    /// What it is.
    pub source: Source,
    /// When it is made.
    pub schedules: Vec<ValidatedSchedule>,
}

/// What a backup reads, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Databases by `pg_dump`.
    PostgresDump {
        /// Where from.
        server: PostgresServer,
        /// Which.
        databases: Vec<String>,
        /// With roles and tablespaces.
        globals: bool,
        /// With password hashes.
        role_passwords: RolePasswords,
        /// With settings and access rules.
        settings: bool,
        /// Dumps of one database at once.
        streams: u8,
    },
}

/// When a backup is made.
#[derive(Clone, Debug)]
pub struct ValidatedSchedule {
    /// Name.
    pub name: String,
    /// Slots.
    pub cadence: Cadence,
    /// Days to keep.
    pub keep_days: u32,
    /// So many of its newest good backups stay, however old they are.
    pub keep_at_least: u32,
    /// No run of it is to start.
    pub suspend: bool,
    /// Seconds after which a slot that has not started is missed.
    pub starting_deadline_seconds: Option<u32>,
    /// What a slot does while another run goes on.
    pub concurrency: ConcurrencyPolicy,
    /// Most seconds by which a run starts after its slot.
    pub jitter_seconds: u32,
    /// Seconds until an attempt is stopped.
    pub active_deadline_seconds: u32,
    /// Retries.
    pub backoff_limit: u32,
}

/// A spec that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// Stable reason.
    pub reason: &'static str,
    /// Path of the field.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Invalid {
    fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
}

/// Default time limit of an attempt: a day.
pub(super) const ACTIVE_DEADLINE_SECONDS: u32 = 86_400;
/// Seconds in which a slot still starts that must not be made up for: a restart of the operator takes less.
const IN_TIME_SECONDS: u32 = 300;
/// Default number of retries.
pub(super) const BACKOFF_LIMIT: u32 = 2;

/// Checks everything that can be known without looking at the world.
pub fn validate(policy: &BackupPolicy) -> Result<ValidatedPolicy, Invalid> {
    let spec = &policy.spec;
    let zone = zone(spec.time_zone.as_deref().unwrap_or("Etc/UTC"))?;
    let server = spec.postgres.as_ref().map(server);
    let backups = spec
        .backups
        .iter()
        .map(|entry| backup(entry, spec.postgres.as_ref(), &zone))
        .collect::<Result<Vec<_>, _>>()?;
    unique_paths(&backups)?;
    not_too_many(&backups)?;
    outside_of_backups(spec.storage.s3.prefix.as_deref().unwrap_or_default())?;
    let annotations = Annotations::of(policy);
    let validated = ValidatedPolicy {
        identity: PolicyIdentity {
            namespace: policy.metadata.namespace.clone().unwrap_or_default(),
            name: policy.metadata.name.clone().unwrap_or_default(),
            uid: policy.metadata.uid.clone().unwrap_or_default(),
        },
        generation: policy.generation(),
        created: policy.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        suspend: spec.suspend,
        first_run: spec.first_run.unwrap_or_default(),
        bucket: bucket(&spec.storage.s3),
        seal: Seal {
            recipients: recipients(&spec.encryption.age.recipients)?,
            compression_level: spec.compression.and_then(|compression| compression.level).unwrap_or(1),
        },
        server,
        backups,
        read_back_limit: read_back_limit(spec.read_back_limit.as_deref())?,
        stall_seconds: spec.stall_seconds.unwrap_or(600),
        manual_keep_days: spec.manual_keep_days.unwrap_or(30),
        suspend_retention: spec.suspend_retention,
        pins: annotations.pins,
        unreadable_pin: annotations.unreadable_pin,
        prune_token: annotations.prune_token,
        adopt: annotations.adopt,
        run_tokens: run_tokens(policy),
        job_template: spec.job_template.clone().unwrap_or_default(),
    };
    validated.check_task_sizes()?;
    Ok(validated)
}

fn zone(name: &str) -> Result<TimeZone, Invalid> {
    time_zone(name)
        .map_err(|error| Invalid::new(reasons::INVALID_TIME_ZONE, "spec.timeZone", error.to_string()))
}

fn read_back_limit(text: Option<&str>) -> Result<u64, Invalid> {
    let text = text.unwrap_or("100Gi");
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| {
        let message = format!("{text:?} is no size: write for example 100Gi, or 0 to read no backup again");
        Invalid::new(reasons::INVALID_SPEC, "spec.readBackLimit", message)
    })
}

fn backup(entry: &Backup, postgres: Option<&Postgres>, zone: &TimeZone) -> Result<ValidatedBackup, Invalid> {
    let field = format!("spec.backups[{}]", entry.name);
    let Some(kind) = entry.kind() else {
        return Err(Invalid::new(
            reasons::INVALID_SPEC,
            field,
            "needs exactly one kind, such as postgresDump",
        ));
    };
    let source = match kind {
        BackupKind::PostgresDump(dump) => {
            let postgres = postgres.ok_or_else(|| {
                Invalid::new(
                    reasons::INVALID_SPEC,
                    "spec.postgres",
                    "is required by a postgresDump backup: name the server there",
                )
            })?;
            let databases = if dump.databases.is_empty() {
                vec![postgres.database.clone()]
            } else {
                dump.databases.clone()
            };
            Source::PostgresDump {
                server: server(postgres),
                databases,
                globals: dump.globals.unwrap_or(true),
                role_passwords: dump.role_passwords.unwrap_or_default(),
                settings: dump.settings.unwrap_or(true),
                streams: dump.streams.unwrap_or(1),
            }
        }
    };
    Ok(ValidatedBackup {
        name: entry.name.clone(),
        path: entry.path.clone().unwrap_or_else(|| kind.default_path().to_owned()),
        source,
        schedules: entry
            .schedules
            .iter()
            .map(|item| schedule(item, &field, zone))
            .collect::<Result<_, _>>()?,
    })
}

fn schedule(item: &Schedule, backup: &str, zone: &TimeZone) -> Result<ValidatedSchedule, Invalid> {
    if item.name == MANUAL {
        return Err(Invalid::new(
            reasons::INVALID_SPEC,
            format!("{backup}.schedules[{MANUAL}].name"),
            "is the name by which metrics tell runs that no schedule asked for: use another one",
        ));
    }
    let cadence = Cadence::parse(&item.cron, zone).map_err(|error: CadenceError| {
        Invalid::new(
            reasons::INVALID_SCHEDULE,
            format!("{backup}.schedules[{}].cron", item.name),
            error.to_string(),
        )
    })?;
    Ok(ValidatedSchedule {
        name: item.name.clone(),
        cadence,
        keep_days: item.keep_days,
        keep_at_least: item.keep_at_least.unwrap_or(1),
        suspend: item.suspend,
        starting_deadline_seconds: match item.catch_up.unwrap_or_default() {
            CatchUp::Latest => item.starting_deadline_seconds,
            CatchUp::None => Some(IN_TIME_SECONDS),
        },
        concurrency: item.concurrency_policy.unwrap_or_default(),
        jitter_seconds: item.jitter_seconds.unwrap_or(0),
        active_deadline_seconds: item.active_deadline_seconds.unwrap_or(ACTIVE_DEADLINE_SECONDS),
        backoff_limit: item.backoff_limit.unwrap_or(BACKOFF_LIMIT),
    })
}

/// Two backups in one directory would overwrite each other.
fn unique_paths(backups: &[ValidatedBackup]) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
    match backups.iter().find(|backup| !seen.insert(backup.path.as_str())) {
        None => Ok(()),
        Some(backup) => Err(Invalid::new(
            reasons::INVALID_SPEC,
            format!("spec.backups[{}].path", backup.name),
            format!(
                "{:?} is the path of another backup of this policy too: give each a path of its own",
                backup.path
            ),
        )),
    }
}

/// Status remembers something of each schedule, and has an end.
fn not_too_many(backups: &[ValidatedBackup]) -> Result<(), Invalid> {
    let schedules: usize = backups.iter().map(|backup| backup.schedules.len()).sum();
    if schedules <= MAX_SCHEDULES {
        return Ok(());
    }
    let message = format!(
        "have {schedules} schedules in all, and a policy may have {MAX_SCHEDULES}: move some of the backups to a policy of their own, with a prefix of its own"
    );
    Err(Invalid::new(reasons::INVALID_SPEC, "spec.backups", message))
}

/// What lies inside of a backup's directory goes with that backup, whoever stored it.
fn outside_of_backups(prefix: &str) -> Result<(), Invalid> {
    match prefix.split('/').find(|segment| segment.parse::<BackupId>().is_ok()) {
        None => Ok(()),
        Some(segment) => Err(Invalid::new(
            reasons::INVALID_SPEC,
            "spec.storage.s3.prefix",
            format!(
                "{segment:?} has the form of a backup's directory, and what lies in one is deleted with the backup: use another name"
            ),
        )),
    }
}

fn recipients(recipients: &[String]) -> Result<Vec<String>, Invalid> {
    let trimmed: Vec<String> = recipients.iter().map(|recipient| recipient.trim().to_owned()).collect();
    let unusable = |recipient: &String| {
        recipient.is_empty() || recipient.to_ascii_uppercase().contains("AGE-SECRET-KEY-")
    };
    match trimmed.iter().position(unusable) {
        None => Ok(trimmed),
        // The text itself is left out: it may be a private key.
        Some(at) => Err(Invalid::new(
            reasons::INVALID_RECIPIENT,
            format!("spec.encryption.age.recipients[{at}]"),
            "is no public key: use what age-keygen prints as \"public key\" (age1…)",
        )),
    }
}

pub(crate) fn secret(reference: &SecretRef, directory: &str) -> MountedSecret {
    MountedSecret { secret: reference.name.clone(), directory: directory.to_owned() }
}

pub(crate) fn bucket(s3: &S3Storage) -> Bucket {
    Bucket {
        name: s3.bucket.clone(),
        prefix: s3.prefix.clone().unwrap_or_default(),
        region: s3.region.clone().unwrap_or_else(|| "us-east-1".into()),
        endpoint: s3.endpoint.clone(),
        force_path_style: s3.force_path_style.unwrap_or(s3.endpoint.is_some()),
        ca: s3.ca_secret_ref.as_ref().map(|reference| secret(reference, S3_CA)),
        credentials: s3.credentials_secret_ref.as_ref().map(|reference| secret(reference, S3_CREDENTIALS)),
        storage_class: s3.storage_class.clone(),
        server_side_encryption: s3.server_side_encryption.clone(),
        checksum: s3.checksum.unwrap_or_default(),
    }
}

pub(crate) fn server(postgres: &Postgres) -> PostgresServer {
    PostgresServer {
        host: postgres.host.clone(),
        port: postgres.port.unwrap_or(5432),
        maintenance_database: postgres.maintenance_database.clone().unwrap_or_else(|| "postgres".into()),
        ssl_mode: postgres.ssl_mode.unwrap_or_default(),
        ca: postgres.ca_secret_ref.as_ref().map(|reference| secret(reference, DATABASE_CA)),
        credentials: secret(&postgres.credentials_secret_ref, DATABASE_CREDENTIALS),
    }
}

fn run_tokens(policy: &BackupPolicy) -> BTreeMap<String, String> {
    let annotations = policy.metadata.annotations.iter().flatten();
    annotations
        .filter_map(|(key, token)| Some((key.strip_prefix(RUN_PREFIX)?.to_owned(), short(token.clone()))))
        .collect()
}
