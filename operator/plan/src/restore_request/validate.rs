//! Turns the spec of a RestoreRequest into a form that cannot be wrong, or says which field is. Pure.

use greenlang_backup_api::labels::GIVE_UP;
use greenlang_backup_api::restore::{
    MAX_DATABASE_NAME, OpeningKeys, PlanSource, RequestIdentity, previous_name, spec_sha256, temporary_name,
};
use greenlang_backup_api::task::{Bucket, PostgresServer};
use greenlang_backup_api::v1alpha1::{
    BackupPolicy, Checks, Checksum, JobTemplate, QuiesceArgoCd, QuiesceWhen, RestoreGlobals, RestoreInclude,
    RestorePlace, RestoreRequest, RestoreStrategy, RestoreTarget, SecretRef, VerifyRestored, WorkloadRef,
};
use greenlang_backup_api::{digest, reasons};
use jiff::Timestamp;

use crate::backup_policy::Invalid;
use crate::backup_policy::validate::{DATABASE_CA, DATABASE_CREDENTIALS, bucket, secret, server};

/// Directories where Jobs find the keys.
const IDENTITY: &str = "/run/secrets/greenlang/identity";
const LEGACY_PASSPHRASE: &str = "/run/secrets/greenlang/legacy-passphrase";
/// Hexadecimal digits of a Lease's name.
const LOCK_DIGITS: usize = 20;

/// A request that can be carried out, as far as its spec tells.
#[expect(clippy::struct_excessive_bools, reason = "as the spec has them")]
#[derive(Clone, Debug)]
pub struct ValidatedRestore {
    /// Namespace, name, UID.
    pub identity: RequestIdentity,
    /// Generation of the spec.
    pub generation: i64,
    /// SHA-256 of what it asks for.
    pub spec_sha256: String,
    /// Bucket and server: as status has them once the request has begun, as spec and policy say before.
    pub place: RestorePlace,
    /// Database that is restored to.
    pub database: String,
    /// What is restored.
    pub source: PlanSource,
    /// What opens it.
    pub keys: OpeningKeys,
    /// What becomes of the database that is there.
    pub strategy: RestoreStrategy,
    /// Connections that load.
    pub jobs: u8,
    /// What becomes of roles.
    pub globals: RestoreGlobals,
    /// How it is verified.
    pub verify: VerifyRestored,
    /// Only this part of the database.
    pub include: Option<RestoreInclude>,
    /// Hours that the replaced database stays.
    pub keep_previous_hours: u32,
    /// Logical replication may end.
    pub allow_logical_replication_loss: bool,
    /// When applications stop.
    pub quiesce_when: QuiesceWhen,
    /// Which, in this order.
    pub workloads: Vec<WorkloadRef>,
    /// What becomes of Applications of Argo CD that would start them again.
    pub argo_cd: QuiesceArgoCd,
    /// Seconds after their last Pod.
    pub drain_seconds: u32,
    /// What must be true at the end.
    pub checks: Checks,
    /// Seconds without progress.
    pub stall_seconds: u32,
    /// Settings of the Pods.
    pub job_template: JobTemplate,
    /// It does not begin after this.
    pub start_before: Option<Timestamp>,
    /// Only the plan.
    pub dry_run: bool,
    /// Stop and undo.
    pub cancel: bool,
    /// A person has ended a request of which nobody knows whether the databases were switched.
    pub give_up: bool,
}

fn invalid(reason: &'static str, field: &str, message: impl Into<String>) -> Invalid {
    Invalid { reason, field: field.to_owned(), message: message.into() }
}

/// Checks everything that can be known without looking at the world. The policy counts only until the request has begun.
pub fn validate(
    request: &RestoreRequest,
    policy: Option<&BackupPolicy>,
) -> Result<ValidatedRestore, Invalid> {
    let (place, database) = match begun(request) {
        Some(begun) => begun,
        None => (place(request, policy)?, database(request, policy)?),
    };
    check_database(request, &database)?;
    check_include(request)?;
    let source = source(request, place.path.as_ref())?;
    let valid = assemble(request, place, database, source);
    valid.check_task_sizes()?;
    Ok(valid)
}

/// What can still be done for a request that [`validate`] refuses: give back, undo, go forward. Bucket and server are those of its
/// status; without them there is no Job to make, for status has no databases either.
pub fn leftover(request: &RestoreRequest) -> ValidatedRestore {
    let (place, database) = begun(request).unwrap_or_else(|| (nowhere(request), String::new()));
    let path = place.path.clone().unwrap_or_default();
    let none = PlanSource::Latest { path, backup: None, schedule: None, database: None };
    let source = source(request, place.path.as_ref()).unwrap_or(none);
    assemble(request, place, database, source)
}

fn nowhere(request: &RestoreRequest) -> RestorePlace {
    let bucket = Bucket {
        name: String::new(),
        prefix: String::new(),
        region: String::new(),
        endpoint: None,
        force_path_style: false,
        ca: None,
        credentials: None,
        storage_class: None,
        server_side_encryption: None,
        checksum: Checksum::default(),
    };
    let credentials = &request.spec.database.credentials_secret_ref;
    RestorePlace { bucket, path: None, server: own_server("", &RestoreTarget::default(), credentials) }
}

/// Bucket, server and database of a request that has begun.
fn begun(request: &RestoreRequest) -> Option<(RestorePlace, String)> {
    let status = request.status.as_ref()?;
    Some((status.place.clone()?, status.target.clone()?.database))
}

fn assemble(
    request: &RestoreRequest,
    place: RestorePlace,
    database: String,
    source: PlanSource,
) -> ValidatedRestore {
    let (spec, metadata) = (&request.spec, &request.metadata);
    let identity = RequestIdentity {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
    };
    let given_up = metadata.annotations.as_ref().and_then(|annotations| annotations.get(GIVE_UP));
    let quiesce = spec.quiesce.clone().unwrap_or_default();
    ValidatedRestore {
        generation: request.generation(),
        spec_sha256: spec_sha256(spec),
        source,
        keys: OpeningKeys {
            identity: mounted(spec.identity_secret_ref.as_ref(), IDENTITY),
            legacy_passphrase: mounted(spec.legacy_passphrase_secret_ref.as_ref(), LEGACY_PASSPHRASE),
        },
        strategy: spec.database.strategy.unwrap_or_default(),
        jobs: spec.database.jobs.unwrap_or(4),
        globals: spec.database.globals.unwrap_or_default(),
        verify: spec.database.verify.unwrap_or_default(),
        include: spec.database.include.clone(),
        keep_previous_hours: spec.database.keep_previous_hours.unwrap_or(72),
        allow_logical_replication_loss: spec.allow_logical_replication_loss,
        quiesce_when: quiesce.when.unwrap_or_default(),
        workloads: quiesce.workloads,
        argo_cd: quiesce.argo_cd.unwrap_or_default(),
        drain_seconds: quiesce.drain_seconds.unwrap_or(30),
        checks: spec.checks.clone().unwrap_or_default(),
        stall_seconds: spec.stall_seconds.unwrap_or(600),
        job_template: spec.job_template.clone().unwrap_or_default(),
        start_before: spec.start_before.as_ref().map(|time| time.0),
        dry_run: spec.dry_run,
        cancel: spec.cancel,
        give_up: given_up == Some(&identity.uid),
        identity,
        place,
        database,
    }
}

impl ValidatedRestore {
    /// Whether it swaps back what an earlier request has replaced.
    pub fn is_undo(&self) -> bool {
        matches!(self.source, PlanSource::Undo { .. })
    }

    /// Whether the applications stop before anything is loaded. Replace drops what they use, and an undo loads nothing.
    pub(super) fn stops_first(&self) -> bool {
        self.quiesce_when == QuiesceWhen::BeforeRestore
            || self.strategy == RestoreStrategy::Replace
            || self.is_undo()
    }

    /// Name of the database that is loaded into.
    pub fn temporary(&self) -> String {
        temporary_name(&self.database, &self.identity.uid)
    }

    /// Name that the replaced database gets.
    pub fn previous(&self) -> String {
        previous_name(&self.database, &self.identity.uid)
    }
}

/// Name of the Lease that serialises restores of one database.
pub fn lock_name(server: &PostgresServer, database: &str) -> String {
    let parts = [server.host.to_ascii_lowercase(), server.port.to_string(), database.to_owned()];
    format!("greenlang-restore-{}", digest::short(&parts.each_ref().map(String::as_str), LOCK_DIGITS))
}

fn mounted(
    reference: Option<&SecretRef>,
    directory: &str,
) -> Option<greenlang_backup_api::task::MountedSecret> {
    reference.map(|reference| secret(reference, directory))
}

fn policy_of<'a>(
    request: &RestoreRequest,
    policy: Option<&'a BackupPolicy>,
) -> Result<&'a BackupPolicy, Invalid> {
    let name = request.spec.policy_ref.as_ref().map_or("", |reference| &reference.name);
    policy.ok_or_else(|| {
        let message =
            format!("there is no BackupPolicy {name} in this namespace: name one, or give spec.storage");
        invalid(reasons::restore::POLICY_NOT_FOUND, "spec.policyRef.name", message)
    })
}

fn place(request: &RestoreRequest, policy: Option<&BackupPolicy>) -> Result<RestorePlace, Invalid> {
    let spec = &request.spec;
    let storage = match &spec.storage {
        Some(storage) => storage,
        None => &policy_of(request, policy)?.spec.storage,
    };
    let target = spec.database.target.clone().unwrap_or_default();
    let mut server = match &target.host {
        Some(host) => own_server(host, &target, &spec.database.credentials_secret_ref),
        None => server_of(policy_of(request, policy)?)?,
    };
    server.credentials = secret(&spec.database.credentials_secret_ref, DATABASE_CREDENTIALS);
    Ok(RestorePlace { bucket: bucket(&storage.s3), path: path(request, policy)?, server })
}

fn server_of(policy: &BackupPolicy) -> Result<PostgresServer, Invalid> {
    let name = policy.metadata.name.clone().unwrap_or_default();
    let postgres = policy.spec.postgres.as_ref().ok_or_else(|| {
        let message = format!("BackupPolicy {name} names no server (spec.postgres): name one here");
        invalid(reasons::INVALID_SPEC, "spec.database.target.host", message)
    })?;
    Ok(server(postgres))
}

fn own_server(host: &str, target: &RestoreTarget, credentials: &SecretRef) -> PostgresServer {
    PostgresServer {
        host: host.to_owned(),
        port: target.port.unwrap_or(5432),
        maintenance_database: target.maintenance_database.clone().unwrap_or_else(|| "postgres".into()),
        ssl_mode: target.ssl_mode.unwrap_or_default(),
        ca: mounted(target.ca_secret_ref.as_ref(), DATABASE_CA),
        credentials: secret(credentials, DATABASE_CREDENTIALS),
    }
}

fn database(request: &RestoreRequest, policy: Option<&BackupPolicy>) -> Result<String, Invalid> {
    let target = request.spec.database.target.as_ref();
    if let Some(name) = target.and_then(|target| target.name.clone()) {
        return Ok(name);
    }
    let postgres = policy_of(request, policy)?.spec.postgres.as_ref();
    postgres.map(|postgres| postgres.database.clone()).ok_or_else(|| {
        let message = "the policy names no database (spec.postgres): name one here";
        invalid(reasons::INVALID_SPEC, "spec.database.target.name", message)
    })
}

/// What rules of the definition cannot know: bytes of names, and the database that the policy names.
fn check_database(request: &RestoreRequest, database: &str) -> Result<(), Invalid> {
    let spec = &request.spec;
    if database.len() > MAX_DATABASE_NAME {
        let message =
            format!("{database:?} has {} bytes, PostgreSQL takes {MAX_DATABASE_NAME}", database.len());
        return Err(invalid(reasons::INVALID_SPEC, "spec.database.target.name", message));
    }
    if ["template0", "template1"].contains(&database) {
        let message = format!("{database} is what PostgreSQL makes new databases of: name another one");
        return Err(invalid(reasons::INVALID_SPEC, "spec.database.target.name", message));
    }
    match &spec.confirm {
        Some(confirm) if confirm != database => {
            let message = format!(
                "is {confirm:?}, and the database whose content is replaced is {database:?}: write that if it is what you want"
            );
            Err(invalid(reasons::restore::CONFIRM_MISMATCH, "spec.confirm", message))
        }
        _ => Ok(()),
    }
}

/// What rules of the definition say too, for objects that were stored under other rules, and bytes of names.
fn check_include(request: &RestoreRequest) -> Result<(), Invalid> {
    const FIELD: &str = "spec.database.include";
    let Some(RestoreInclude { schemas, tables }) = &request.spec.database.include else { return Ok(()) };
    let wrong = |message: String| Err(invalid(reasons::INVALID_SPEC, FIELD, message));
    if request.spec.database.strategy != Some(RestoreStrategy::NewDatabase) {
        return wrong(
            "goes with strategy NewDatabase only: part of a database is no replacement for all of it".into(),
        );
    }
    if schemas.is_empty() && tables.is_empty() {
        return wrong("needs schemas or tables".into());
    }
    let names = schemas.iter().chain(tables.iter().flat_map(|table| [&table.schema, &table.name]));
    for name in names {
        if name.is_empty() || name.len() > MAX_DATABASE_NAME {
            return wrong(format!(
                "{name:?} has {} bytes, PostgreSQL takes 1 to {MAX_DATABASE_NAME}",
                name.len()
            ));
        }
    }
    Ok(())
}

/// Directory of the backups that the source means; none for an undo.
fn path(request: &RestoreRequest, policy: Option<&BackupPolicy>) -> Result<Option<String>, Invalid> {
    let source = &request.spec.source;
    let (field, name, path) = match (&source.backup, &source.latest) {
        (Some(backup), _) => ("spec.source.backup.name", &backup.name, &backup.path),
        (None, Some(latest)) => ("spec.source.latest.backup", &latest.backup, &latest.path),
        (None, None) => return Ok(None),
    };
    match (name, path) {
        (_, Some(path)) => Ok(Some(path.clone())),
        (Some(name), None) => backup_path(policy_of(request, policy)?, field, name).map(Some),
        (None, None) => Err(invalid(reasons::INVALID_SPEC, field, "needs the name of a backup, or a path")),
    }
}

fn source(request: &RestoreRequest, path: Option<&String>) -> Result<PlanSource, Invalid> {
    let source = &request.spec.source;
    let (path, database) = (path.cloned().unwrap_or_default(), source.database.clone());
    match (&source.backup, &source.latest, &source.undo_of) {
        (Some(backup), _, _) => Ok(PlanSource::Backup { path, id: backup.id.clone(), database }),
        (_, Some(latest), _) => {
            let (backup, schedule) = (latest.backup.clone(), latest.schedule.clone());
            Ok(PlanSource::Latest { path, backup, schedule, database })
        }
        (_, _, Some(of)) => Ok(PlanSource::Undo { of: of.name.clone() }),
        _ => Err(invalid(
            reasons::INVALID_SPEC,
            "spec.source",
            "needs exactly one of backup, latest and undoOf",
        )),
    }
}

fn backup_path(policy: &BackupPolicy, field: &str, name: &str) -> Result<String, Invalid> {
    let backup = policy.spec.backups.iter().find(|backup| backup.name == name);
    let path = backup
        .and_then(|backup| backup.path.clone().or_else(|| Some(backup.kind()?.default_path().to_owned())));
    path.ok_or_else(|| {
        let known: Vec<&str> = policy.spec.backups.iter().map(|backup| backup.name.as_str()).collect();
        let message = format!("the policy has no backup {name:?}; it has {}", known.join(", "));
        invalid(reasons::restore::BACKUP_NOT_IN_POLICY, field, message)
    })
}
