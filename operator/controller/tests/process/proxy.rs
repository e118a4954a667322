//! Stands between an operator and its API server, and answers in its place what a server says only under a load or after
//! a time that no test has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use greenlang_backup_tests::api_server::ApiServer;
use greenlang_backup_tests::operator::{NAMESPACE, RELEASE};
use greenlang_backup_tests::policy;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::replica::SERVED;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429: the server has too much to do, and says when to come again.
    TooMany,
    /// 400: a webhook denies what is to be made.
    Denied,
    /// 410: the watch asks for changes that the server does not remember.
    Expired,
    /// Somebody else changes the policy of this name right before the request, which goes on to the server.
    Overtaken(String),
    /// This text, as of a kubelet, which the server does not have.
    Text(String),
    /// No answer, as of a kubelet that is gone without a word.
    Silent,
}

/// The next requests whose method and address have these parts.
struct Rule {
    fault: Fault,
    method: &'static str,
    part: &'static str,
    times: usize,
}

#[derive(Default)]
struct Known {
    rules: Vec<Rule>,
    /// Codes of answers of the server itself.
    answers: Vec<(String, u16)>,
}

/// A running proxy; it ends when this is dropped.
pub struct Proxy {
    way: Way,
    /// How the operator reaches the server.
    pub kubeconfig: String,
    _task: JoinSet<()>,
}

#[derive(Clone)]
struct Way {
    known: Arc<Mutex<Known>>,
    /// Without an identity of its own: the one who asks has one.
    server: Client,
    administrator: greenlang_backup_tests::cluster::Cluster,
}

impl Proxy {
    pub async fn start(api: &ApiServer) -> Result<Self> {
        let mut config = Config::new(api.url.parse()?);
        config.accept_invalid_certs = true;
        let way = Way {
            known: Arc::default(),
            server: Client::try_from(config)?,
            administrator: api.cluster.clone(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = axum::Router::new().fallback(pass).with_state(way.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        let kubeconfig = api.as_service_account_by(&url, NAMESPACE, RELEASE).await?;
        Ok(Self { way, kubeconfig, _task: task })
    }

    /// Does this to the next requests of this method (`""` for all) whose path and query have this part.
    pub fn inject(&self, fault: Fault, method: &'static str, part: &'static str, times: usize) {
        self.way.known().rules.push(Rule { fault, method, part, times });
    }

    /// How many faults are still to come.
    pub fn to_come(&self) -> usize {
        self.way.known().rules.iter().map(|rule| rule.times).sum()
    }

    /// How often the server itself answered a method so.
    pub fn answered(&self, method: &str, code: u16) -> usize {
        self.way.known().answers.iter().filter(|(by, with)| by == method && *with == code).count()
    }
}

impl Way {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, method: &str, uri: &Uri) -> Option<Fault> {
        let address = uri.to_string();
        let mut known = self.known();
        let rule = known
            .rules
            .iter_mut()
            .find(|rule| rule.times > 0 && method.contains(rule.method) && address.contains(rule.part))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response> {
        request.headers_mut().remove(HOST);
        let method = request.method().to_string();
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await?.to_vec();
        let answer = self.server.send(Request::from_parts(head, body.into())).await?;
        self.known().answers.push((method, answer.status().as_u16()));
        let mut answer = answer.map(Body::new);
        drop_hops(answer.headers_mut());
        Ok(answer)
    }
}

/// What is about a connection is none of the other one's business.
fn drop_hops(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
}

async fn pass(State(way): State<Way>, request: Request<Body>) -> Response {
    match way.fault(request.method().as_str(), request.uri()) {
        Some(Fault::TooMany) => {
            let body = failure(429, "TooManyRequests", "the server has received too many requests");
            return (
                StatusCode::TOO_MANY_REQUESTS,
                [(CONTENT_TYPE, "application/json"), (RETRY_AFTER, "1")],
                body.to_string(),
            )
                .into_response();
        }
        Some(Fault::Denied) => {
            let body = failure(400, "", "admission webhook \"no.jobs\" denied the request: not on Fridays");
            return (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], body.to_string())
                .into_response();
        }
        Some(Fault::Expired) => {
            let event =
                json!({"type": "ERROR", "object": failure(410, "Expired", "too old resource version")});
            return ([(CONTENT_TYPE, "application/json")], format!("{event}\n")).into_response();
        }
        Some(Fault::Overtaken(name)) => {
            let token = greenlang_backup_tests::random::word(8).unwrap_or_default();
            let patch = json!({"metadata": {"annotations": {"somebody.else/was-here": token}}});
            if let Err(error) = policy::change(&way.administrator, SERVED, &name, patch).await {
                return (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response();
            }
        }
        Some(Fault::Text(text)) => return ([(CONTENT_TYPE, "text/plain")], text).into_response(),
        Some(Fault::Silent) => std::future::pending().await,
        None => {}
    }
    way.send(request)
        .await
        .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})
}
