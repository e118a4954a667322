//! Events on their way to the API server: one after another, beside the passes, so that no run waits for one. I/O.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use greenlang_backup_api::conditions;
use greenlang_backup_plan::backup_policy::Event;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as Note, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::task::AbortOnDropHandle;

/// Events that may wait; what comes beyond is lost. Status has said the same.
const MOST: usize = 1_000;
/// As long as a recorder takes a further event for one of the same series.
const SERIES: Duration = Duration::from_mins(6);
/// Wordings whose series are known at a time. What comes beyond is told, each time as an event of its own.
const WORDINGS: usize = 1_000;

/// Takes events that are to be published.
#[derive(Clone)]
pub struct Events(Sender<(ObjectReference, Note)>);

impl Events {
    /// Begins to publish. The task ends when nobody can tell anything any more and all is published.
    pub fn start(client: Client, reporter: Reporter) -> (Self, AbortOnDropHandle<()>) {
        let (told, queue) = channel(MOST);
        let recorders = Recorders { client, reporter, by_words: HashMap::new() };
        (Self(told), AbortOnDropHandle::new(tokio::spawn(publish(recorders, queue))))
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
async fn publish(mut recorders: Recorders, mut queue: Receiver<(ObjectReference, Note)>) {
    while let Some((about, note)) = queue.recv().await {
        if let Err(error) = recorders.of(&note).publish(&note, &about).await {
            tracing::warn!(%error, reason = note.reason, "an event was not published");
        }
    }
}

/// One recorder for each wording. A recorder counts all events of a reason about an object as one series, and shows the words of the
/// first: what the second attempt or the second application had to say would be lost.
struct Recorders {
    client: Client,
    reporter: Reporter,
    by_words: HashMap<String, (Recorder, Instant)>,
}

impl Recorders {
    fn of(&mut self, note: &Note) -> Recorder {
        let now = Instant::now();
        self.by_words.retain(|_, (_, used)| now.duration_since(*used) < SERIES);
        let words = note.note.clone().unwrap_or_default();
        if let Some((recorder, used)) = self.by_words.get_mut(&words) {
            *used = now;
            return recorder.clone();
        }
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        // Words may hold what others wrote: they take no more memory than this.
        if self.by_words.len() < WORDINGS {
            self.by_words.insert(words, (recorder.clone(), now));
        }
        recorder
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::{Method, StatusCode};
    use kube::Config;
    use serde_json::Value;

    use super::*;

    /// An API server that has no room for the events of one reason, and takes all others. What it took: how it was asked, the reason, and
    /// the first of the words.
    async fn server(refused: &'static str) -> (Client, Arc<Mutex<Vec<String>>>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let list = taken.clone();
        let take = move |method: Method, body: String| {
            let event: Value = serde_json::from_str(&body).unwrap();
            let text = |field: &str| event[field].as_str().unwrap().to_owned();
            let is_taken = text("reason") != refused;
            if is_taken {
                let words: String = text("note").chars().take(3).collect();
                list.lock().unwrap().push(format!("{method} {}: {words}", text("reason")));
            }
            std::future::ready(if is_taken { Ok(body) } else { Err(StatusCode::INSUFFICIENT_STORAGE) })
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
        let router = Router::new().fallback(take);
        tokio::spawn(async { axum::serve(listener, router).await });
        (client, taken)
    }

    /// What is published of events with these reasons and messages, once the task has ended.
    async fn published(told: &[(&'static str, &str)]) -> Vec<String> {
        let (client, taken) = server("Refused").await;
        let (events, published) =
            Events::start(client, Reporter { controller: "test".into(), instance: None });
        let about =
            ObjectReference { namespace: Some("n".into()), name: Some("p".into()), ..Default::default() };
        for (reason, message) in told {
            events.tell(&about, &Event { warning: false, reason, message: (*message).to_owned() });
        }
        drop(events);
        published.await.unwrap();
        let taken = taken.lock().unwrap();
        taken.clone()
    }

    #[tokio::test]
    async fn what_was_told_is_published_in_order_to_the_last_and_then_the_task_ends() {
        let long = "m".repeat(5_000);
        let told = ["First", "Refused", "Second", "Third"].map(|reason| (reason, &*long));
        assert_eq!(published(&told).await, ["POST First: mmm", "POST Second: mmm", "POST Third: mmm"]);
    }

    #[tokio::test]
    async fn only_events_of_the_same_words_become_one() {
        let told = [("Gone", "api"), ("Gone", "web"), ("Gone", "api")];
        assert_eq!(published(&told).await, ["POST Gone: api", "POST Gone: web", "PATCH Gone: api"]);
    }

    #[tokio::test]
    async fn what_is_remembered_of_words_is_bounded() {
        let words: Vec<String> = (0..WORDINGS + 10).map(|number| number.to_string()).collect();
        let client = server("Refused").await.0;
        let reporter = Reporter { controller: "test".into(), instance: None };
        let mut recorders = Recorders { client, reporter, by_words: HashMap::new() };
        for words in &words {
            let note = Some(words.clone());
            recorders.of(&Note {
                type_: EventType::Normal,
                reason: "Gone".to_owned(),
                note,
                action: "Gone".to_owned(),
                secondary: None,
            });
        }
        assert_eq!(recorders.by_words.len(), WORDINGS);
    }
}
