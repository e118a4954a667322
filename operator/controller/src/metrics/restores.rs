//! Metrics of restores, read from the statuses in the cache at each scrape: they survive a restart, and a series goes with its request.
//! No I/O.

use std::sync::Arc;

use greenlang_backup_api::v1alpha1::{QuiesceState, RestorePhase, RestoreRequest, RestoreRequestStatus};
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use prometheus::{GaugeVec, Opts, Registry};

use super::{count, seconds};

struct Restores {
    phase: GaugeVec,
    phase_seconds: GaugeVec,
    duration: GaugeVec,
    finished: GaugeVec,
    scaled_down: GaugeVec,
    rows: GaugeVec,
    drop_after: GaugeVec,
}

/// The series of all requests.
pub fn collect(requests: &[Arc<DeserializeGuard<RestoreRequest>>]) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        let family = GaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(family.clone())).map(|()| family)
    };
    let (of_request, of_phase) = (&["namespace", "request"], &["namespace", "request", "phase"]);
    let restores = Restores {
        phase: gauge("gl_restore_phase", "1 for the phase that the request is in.", of_phase)?,
        phase_seconds: gauge(
            "gl_restore_phase_duration_seconds",
            "Seconds that a phase took, once it has ended; a phase that came twice counts together.",
            of_phase,
        )?,
        duration: gauge(
            "gl_restore_duration_seconds",
            "Seconds from the begin of the first phase after Pending to the end.",
            of_request,
        )?,
        finished: gauge(
            "gl_restore_finished_timestamp",
            "When the request ended, Unix time; the label outcome says how (Succeeded, Planned, Failed, Cancelled, Expired).",
            &["namespace", "request", "outcome"],
        )?,
        scaled_down: gauge(
            "gl_restore_workloads_scaled_down",
            "Workloads that the request has stopped and not brought back. Above zero after its end, or for longer than a restore takes, a person is needed.",
            of_request,
        )?,
        rows: gauge("gl_restore_rows", "Rows that were loaded.", of_request)?,
        drop_after: gauge(
            "gl_restore_previous_drop_timestamp",
            "When the database that was replaced is dropped, Unix time; absent once it is gone.",
            of_request,
        )?,
    };
    for request in requests.iter().filter_map(|request| request.0.as_ref().ok()) {
        restores.add(request);
    }
    Ok(registry)
}

impl Restores {
    fn add(&self, request: &RestoreRequest) {
        let Some(status) = &request.status else { return };
        let (namespace, name) = (request.namespace().unwrap_or_default(), request.name_any());
        let labels = [namespace.as_str(), name.as_str()];
        let phase = status.phase.unwrap_or_default();
        self.phase.with_label_values(&[labels[0], labels[1], phase.as_str()]).set(1.0);
        for times in &status.phases {
            if let Some(end) = times.end_time.as_ref().filter(|_| !times.phase.is_end()) {
                let took = end.0.duration_since(times.start_time.0).as_secs();
                self.phase_seconds
                    .with_label_values(&[labels[0], labels[1], times.phase.as_str()])
                    .add(seconds(took));
            }
        }
        let down = status.quiesced.iter().filter(|entry| entry.state == QuiesceState::Recorded).count();
        self.scaled_down.with_label_values(&labels).set(count(u64::try_from(down).unwrap_or_default()));
        if let Some(data) = &status.restored {
            self.rows.with_label_values(&labels).set(count(data.rows));
        }
        if let Some(previous) = status.previous.as_ref().filter(|previous| previous.dropped_time.is_none()) {
            self.drop_after.with_label_values(&labels).set(seconds(previous.drop_after.0.as_second()));
        }
        self.end(labels, phase, status);
    }

    fn end(&self, [namespace, name]: [&str; 2], phase: RestorePhase, status: &RestoreRequestStatus) {
        let Some(last) = status.phases.last().filter(|_| phase.is_end()) else { return };
        let end = last.start_time.0;
        let outcome = [namespace, name, phase.as_str()];
        self.finished.with_label_values(&outcome).set(seconds(end.as_second()));
        if let Some(first) = status.phases.iter().find(|times| times.phase != RestorePhase::Pending) {
            let took = end.duration_since(first.start_time.0).as_secs();
            self.duration.with_label_values(&[namespace, name]).set(seconds(took));
        }
    }
}
