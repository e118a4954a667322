//! Events on their way to the API server: one after another, beside the passes, so that no run waits for one. I/O.

use greenlang_backup_api::conditions;
use greenlang_backup_plan::backup_policy::Event;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event as Note, EventType, Recorder};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::task::AbortOnDropHandle;

/// Events that may wait; what comes beyond is lost. Status has said the same.
const MOST: usize = 1_000;

/// Takes events that are to be published.
#[derive(Clone)]
pub struct Events(Sender<(ObjectReference, Note)>);

impl Events {
    /// Begins to publish. The task ends when nobody can tell anything any more and all is published.
    pub fn start(recorder: Recorder) -> (Self, AbortOnDropHandle<()>) {
        let (told, queue) = channel(MOST);
        (Self(told), AbortOnDropHandle::new(tokio::spawn(publish(recorder, queue))))
    }

    /// Tells people what a status that was written says.
    pub fn tell(&self, about: &ObjectReference, event: &Event) {
        let type_ = if event.warning { EventType::Warning } else { EventType::Normal };
        let note = Note {
            type_,
            reason: event.reason.to_owned(),
            note: Some(conditions::cut(&event.message).to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        tracing::info!(reason = event.reason, note = event.message, "event");
        if self.0.try_send((about.clone(), note)).is_err() {
            tracing::warn!(reason = event.reason, "an event was not published: too many wait");
        }
    }
}

/// An event that cannot be published is lost: status has said the same already.
async fn publish(recorder: Recorder, mut queue: Receiver<(ObjectReference, Note)>) {
    while let Some((about, note)) = queue.recv().await {
        if let Err(error) = recorder.publish(&note, &about).await {
            tracing::warn!(%error, reason = note.reason, "an event was not published");
        }
    }
}
