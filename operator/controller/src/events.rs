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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::StatusCode;
    use kube::runtime::events::Reporter;
    use kube::{Client, Config};
    use serde_json::Value;

    use super::*;

    /// An API server that has no room for the events of one reason, and takes all others.
    async fn server(refused: &'static str) -> (Recorder, Arc<Mutex<Vec<String>>>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let list = taken.clone();
        let take = move |body: String| {
            let event: Value = serde_json::from_str(&body).unwrap();
            let reason = event["reason"].as_str().unwrap().to_owned();
            let is_taken = reason != refused;
            if is_taken {
                list.lock().unwrap().push(reason);
            }
            std::future::ready(if is_taken { Ok(body) } else { Err(StatusCode::INSUFFICIENT_STORAGE) })
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
        let router = Router::new().fallback(axum::routing::post(take));
        tokio::spawn(async { axum::serve(listener, router).await });
        (Recorder::new(client, Reporter { controller: "test".into(), instance: None }), taken)
    }

    #[tokio::test]
    async fn what_was_told_is_published_in_order_to_the_last_and_then_the_task_ends() {
        let (recorder, taken) = server("Refused").await;
        let (events, published) = Events::start(recorder);
        let about =
            ObjectReference { namespace: Some("n".into()), name: Some("p".into()), ..Default::default() };
        for reason in ["First", "Refused", "Second", "Third"] {
            events.tell(&about, &Event { warning: false, reason, message: "m".repeat(5_000) });
        }
        drop(events);
        published.await.unwrap();
        assert_eq!(*taken.lock().unwrap(), ["First", "Second", "Third"]);
    }
}
