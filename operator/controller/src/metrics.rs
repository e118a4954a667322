//! All metrics. Those of backups are read from the statuses in the cache at each scrape, so they survive a restart, and a
//! series goes with its object. No I/O.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use greenlang_backup_api::conditions::{self, State};
use greenlang_backup_api::v1alpha1::{BackupPolicy, MANUAL, RestoreRequest, RunHistory, Verification};
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::backup_policy::Places;

mod restores;

/// A policy in the cache.
type Policy = Arc<DeserializeGuard<BackupPolicy>>;

/// Labels of every series about backups.
const LABELS: &[&str] = &["namespace", "policy", "backup", "schedule"];

/// Everything that `/metrics` shows.
pub struct Metrics {
    process: Registry,
    leader: IntGauge,
    leads: OnceLock<Leads>,
    restores: OnceLock<Store<DeserializeGuard<RestoreRequest>>>,
}

/// What the active replica knows.
struct Leads {
    policies: Store<DeserializeGuard<BackupPolicy>>,
    places: Arc<Places>,
    /// Namespaces whose policies have series of conditions: anybody may make any number of policies elsewhere.
    served: BTreeSet<String>,
}

/// Counts passes of the reconciler.
pub struct Reconciles {
    total: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    /// An empty set, with the counters of the reconciler.
    pub fn new() -> prometheus::Result<(Self, Reconciles)> {
        let process = Registry::new();
        let leader =
            IntGauge::new("greenlang_backup_operator_leader", "1 while this replica is the active one.")?;
        let total = IntCounterVec::new(
            Opts::new(
                "greenlang_backup_operator_reconciliations_total",
                "Passes over a policy or request, by outcome (ok or the reason of the error). A rising error rate means that statuses are getting old.",
            ),
            &["outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "greenlang_backup_operator_reconcile_duration_seconds",
                "Time of a pass over a policy or request.",
            ),
            &["outcome"],
        )?;
        // Alerts on its rate need it from the start.
        total.with_label_values(&["ok"]).reset();
        process.register(Box::new(leader.clone()))?;
        process.register(Box::new(total.clone()))?;
        process.register(Box::new(seconds.clone()))?;
        let metrics = Self { process, leader, leads: OnceLock::new(), restores: OnceLock::new() };
        Ok((metrics, Reconciles { total, seconds }))
    }

    /// From now on this replica leads, its cache has all policies, and it knows which runs go on.
    pub fn lead(
        &self,
        policies: Store<DeserializeGuard<BackupPolicy>>,
        places: Arc<Places>,
        served: BTreeSet<String>,
    ) {
        self.leader.set(1);
        // Set once: a replica leads once in its life.
        let _ = self.leads.set(Leads { policies, places, served });
    }

    /// From now on the cache has all requests.
    pub fn restores(&self, requests: Store<DeserializeGuard<RestoreRequest>>) {
        let _ = self.restores.set(requests);
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> prometheus::Result<String> {
        let mut families = self.process.gather();
        let policies = self.leads.get().map(|leads| leads.policies.state()).unwrap_or_default();
        if let Some(leads) = self.leads.get() {
            families.extend(Backups::collect(&policies)?.gather());
            families.extend(runs(&leads.places)?.gather());
        }
        if let Some(requests) = self.restores.get() {
            families.extend(restores::collect(&requests.state())?.gather());
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        let mut text = String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))?;
        if let Some(leads) = self.leads.get() {
            conditions(&policies, &leads.served, &mut text);
        }
        Ok(text)
    }
}

impl Reconciles {
    /// Takes in one pass.
    pub fn observe(&self, outcome: &str, took: Duration) {
        self.total.with_label_values(&[outcome]).inc();
        self.seconds.with_label_values(&[outcome]).observe(took.as_secs_f64());
    }
}

/// The conditions of policies that are served. Written as text: a registry would hold each of the 24 series of a policy in
/// memory more than once.
/// No value needs to be escaped: names have no quotes, and of conditions only our own are shown.
fn conditions(policies: &[Policy], served: &BTreeSet<String>, text: &mut String) {
    text.push_str("# HELP gl_backup_policy_condition 1 for the status that a condition of a policy has, 0 for the two others.\n");
    text.push_str("# TYPE gl_backup_policy_condition gauge\n");
    for policy in policies.iter().filter_map(|policy| policy.0.as_ref().ok()) {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        let known = policy.status.iter().filter(|_| served.contains(&namespace));
        let known = known.flat_map(|status| &status.conditions);
        for condition in known.filter(|condition| conditions::OF_POLICIES.contains(&&*condition.type_)) {
            for state in [State::True, State::False, State::Unknown].map(State::as_str) {
                let value = u8::from(condition.status == state);
                // A String takes whatever is written.
                let _ = writeln!(
                    text,
                    r#"gl_backup_policy_condition{{namespace="{namespace}",policy="{name}",status="{state}",type="{}"}} {value}"#,
                    condition.type_
                );
            }
        }
    }
}

/// How many runs go on, and wait, of all policies together.
fn runs(places: &Places) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let [limit, active, waiting] = places.count();
    for (name, help, value) in [
        ("greenlang_backup_operator_runs_limit", "Runs that may go on at once (maxConcurrentRuns).", limit),
        (
            "greenlang_backup_operator_runs_active",
            "Runs that go on: their Job is there, or is about to be made.",
            active,
        ),
        (
            "greenlang_backup_operator_runs_waiting",
            "Runs that are due and wait until fewer go on. If it does not come down to 0, raise maxConcurrentRuns or spread the schedules.",
            waiting,
        ),
    ] {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))?;
    }
    Ok(registry)
}

/// The series of the procedures' monitoring section.
struct Backups {
    attempts: IntCounterVec,
    succeeded: IntCounterVec,
    failed: IntCounterVec,
    duration: GaugeVec,
    size: GaugeVec,
    last_success: GaugeVec,
    verified: GaugeVec,
    next: GaugeVec,
    active: GaugeVec,
}

impl Backups {
    fn collect(policies: &[Policy]) -> prometheus::Result<Registry> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), LABELS)?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let gauge = |name: &str, help: &str| {
            let family = GaugeVec::new(Opts::new(name, help), LABELS)?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let backups = Self {
            attempts: counter("gl_backup_attempts_total", "Attempts that ended, retries included.")?,
            succeeded: counter("gl_backup_success_total", "Runs that made a backup.")?,
            failed: counter("gl_backup_failed_total", "Runs that failed for good, retries used up.")?,
            duration: gauge(
                "gl_backup_duration_seconds",
                "Seconds that the newest successful attempt took.",
            )?,
            size: gauge("gl_backup_size_bytes", "Bytes that the newest backup has in the bucket.")?,
            last_success: gauge(
                "gl_backup_last_success_timestamp",
                "End of the newest successful run, Unix time.",
            )?,
            verified: gauge(
                "gl_backup_verified_level",
                "How far the newest backup was proved: 1 Streamed, 2 Stored, 3 ReadBack, 4 Restored.",
            )?,
            next: gauge(
                "gl_backup_next_scheduled_timestamp",
                "When the next run is due, its slot with its jitter, Unix time; absent while suspended.",
            )?,
            active: gauge("gl_backup_active", "1 while a run goes on.")?,
        };
        for policy in policies.iter().filter_map(|policy| policy.0.as_ref().ok()) {
            backups.add(policy);
        }
        Ok(registry)
    }

    fn add(&self, policy: &BackupPolicy) {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        for backup in policy.status.iter().flat_map(|status| &status.backups) {
            let active = |serves: bool| f64::from(u8::from(serves));
            let serves = |name: &String| backup.runs().any(|active| active.run.schedules.contains(name));
            let manual = [&namespace, &name, &backup.name, MANUAL];
            self.history(&manual, &backup.manual);
            self.active
                .with_label_values(&manual)
                .set(active(backup.runs().any(|active| active.run.schedules.is_empty())));
            for schedule in &backup.schedules {
                let labels = [&namespace, &name, &backup.name, schedule.name.as_str()];
                self.history(&labels, &schedule.history);
                self.active.with_label_values(&labels).set(active(serves(&schedule.name)));
                if let Some(next) = &schedule.next_schedule_time {
                    self.next.with_label_values(&labels).set(seconds(next.0.as_second()));
                }
            }
        }
    }

    fn history(&self, labels: &[&str; 4], history: &RunHistory) {
        self.attempts.with_label_values(labels).inc_by(history.attempts);
        self.succeeded.with_label_values(labels).inc_by(history.succeeded);
        self.failed.with_label_values(labels).inc_by(history.failed);
        if let Some(run) = &history.last_success {
            self.duration.with_label_values(labels).set(count(run.duration_seconds));
            self.size.with_label_values(labels).set(count(run.bytes));
            self.last_success.with_label_values(labels).set(seconds(run.time.0.as_second()));
            self.verified.with_label_values(labels).set(level(run.verified));
        }
    }
}

/// Numbers are API: alerts compare them.
const fn level(verified: Verification) -> f64 {
    match verified {
        Verification::Streamed => 1.0,
        Verification::Stored => 2.0,
        Verification::ReadBack => 3.0,
        Verification::Restored => 4.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers; exact up to 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "Unix time is far below 2^53")]
fn seconds(time: i64) -> f64 {
    time as f64
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
