//! Metrics of restores, read from the statuses in the cache at each scrape: they survive a restart, and a series goes with its request.
//! No I/O.

use std::sync::Arc;

use greenlang_backup_api::v1alpha1::{
    PreviousDatabase, QuiesceState, RestorePhase, RestoreRequest, RestoreRequestStatus,
};
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
            "When the database that was replaced is dropped, Unix time; absent once it is gone, and while a person keeps it.",
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
        // What a person has taken over is not dropped any more.
        let goes =
            |previous: &&PreviousDatabase| previous.dropped_time.is_none() && previous.message.is_none();
        if let Some(previous) = status.previous.as_ref().filter(goes) {
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

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, TextEncoder};
    use serde_json::json;

    use super::*;

    fn shown(status: &serde_json::Value) -> Vec<String> {
        let request = serde_json::from_value(json!({
            "apiVersion": "backup.greenlang.io/v1alpha1", "kind": "RestoreRequest",
            "metadata": {"name": "back", "namespace": "greenlang"},
            "spec": {"source": {"undoOf": {"name": "forth"}}, "database": {"credentialsSecretRef": {"name": "admin"}}},
            "status": status,
        }))
        .unwrap();
        let registry = collect(&[Arc::new(DeserializeGuard(Ok(request)))]).unwrap();
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let of = "{namespace=\"greenlang\",";
        let text = String::from_utf8(text).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.replace(of, "{")).collect()
    }

    #[test]
    fn a_restore_is_shown_from_its_status() {
        let times = |phase: &str, start: &str, end: &str| {
            let time = |clock: &str| format!("2025-11-07T{clock}Z");
            json!({"phase": phase, "startTime": time(start), "endTime": time(end)})
        };
        let phases = [
            times("Planning", "10:00:00", "10:00:05"),
            times("Quiescing", "10:00:05", "10:00:35"),
            times("Succeeded", "10:02:00", "10:02:00"),
        ];
        let entry = |name: &str, state: &str| json!({"kind": "Deployment", "name": name, "uid": "u", "replicas": 3, "state": state});
        let shown = shown(&json!({
            "phase": "Succeeded", "phases": phases,
            "quiesced": [entry("api", "Recorded"), entry("worker", "Resumed")],
            "restored": {"tables": 2, "rows": 70, "bytes": 9, "warnings": 0},
            "previous": {"name": "greenlang_before_1", "oid": 16_400, "dropAfter": "2025-11-10T10:00:00Z"},
        }));
        let expected = [
            "gl_restore_duration_seconds{request=\"back\"} 120",
            "gl_restore_finished_timestamp{outcome=\"Succeeded\",request=\"back\"} 1762509720",
            "gl_restore_phase{phase=\"Succeeded\",request=\"back\"} 1",
            "gl_restore_phase_duration_seconds{phase=\"Planning\",request=\"back\"} 5",
            "gl_restore_phase_duration_seconds{phase=\"Quiescing\",request=\"back\"} 30",
            "gl_restore_previous_drop_timestamp{request=\"back\"} 1762768800",
            "gl_restore_rows{request=\"back\"} 70",
            "gl_restore_workloads_scaled_down{request=\"back\"} 1",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_gone_or_kept_by_a_person_has_no_time() {
        for (more, is_shown) in [
            (json!({}), true),
            (json!({"droppedTime": "2025-11-10T10:00:00Z"}), false),
            (json!({"message": "its ConfigMap was deleted"}), false),
        ] {
            let mut previous = json!({"name": "d", "oid": 1, "dropAfter": "2025-11-10T10:00:00Z"});
            previous.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let shown = shown(&json!({"phase": "Succeeded", "previous": previous}));
            let any = shown.iter().any(|line| line.starts_with("gl_restore_previous_drop_timestamp"));
            assert_eq!(any, is_shown, "{shown:#?}");
        }
    }

    #[test]
    fn one_that_has_just_begun_shows_its_phase_and_no_more() {
        let shown = shown(&json!({"phase": "Planning"}));
        assert_eq!(shown.len(), 2, "{shown:#?}");
        assert!(
            shown.iter().any(|line| line == "gl_restore_workloads_scaled_down{request=\"back\"} 0"),
            "{shown:#?}"
        );
    }
}
