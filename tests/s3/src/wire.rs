//! The HTTP side: records what arrives and does the faults that no S3 handler could do. Network.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::Body;
use s3s::service::S3Service;
use tokio::net::TcpListener;

use crate::fault::{Fault, Operation, choose, operation};
use crate::rules::CHANGED;
use crate::store::Shared;

/// The head of a request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it asked for.
    pub operation: Operation,
    /// `/bucket/key`, as sent.
    pub path: String,
    /// Headers with names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// How often a request that is held looks whether the server is healed.
const LOOK: Duration = Duration::from_millis(5);

/// Why a connection is cut.
type Cut = Box<dyn std::error::Error + Send + Sync>;

pub(crate) async fn serve(listener: TcpListener, service: S3Service, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, shared) = (service.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let says_time = shared.switches.says_time;
            let handler = service_fn(move |request| handle(service.clone(), Arc::clone(&shared), request));
            let mut http = http1::Builder::new();
            http.auto_date_header(says_time);
            // Cut connections end with an error; that is what they are for.
            let _ = http.serve_connection(TokioIo::new(stream), handler).await;
        });
    }
}

async fn handle(
    service: S3Service,
    shared: Arc<Shared>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let head = head(&request);
    let fault = choose(&mut shared.faults(), head.operation, &head.path);
    shared.requests().push(head);
    match fault {
        None => call(&service, request.map(Body::from)).await,
        Some(Fault::Answer(status, code)) => {
            drain(request.into_body()).await?;
            answer(status, code)
        }
        Some(Fault::ErrorBody(code)) => {
            drain(request.into_body()).await?;
            answer(200, code)
        }
        Some(Fault::Cut(bytes)) => {
            read(request.into_body(), bytes).await?;
            Err(cut())
        }
        Some(Fault::BlackHole) => {
            drain(request.into_body()).await?;
            pending().await
        }
        Some(Fault::DoneThenAnswer(status, code)) => {
            drop(call(&service, request.map(Body::from)).await?);
            answer(status, code)
        }
        Some(Fault::DoneThenErrorBody(code)) => {
            drop(call(&service, request.map(Body::from)).await?);
            answer(200, code)
        }
        Some(Fault::DoneThenCut) => {
            drop(call(&service, request.map(Body::from)).await?);
            Err(cut())
        }
        Some(Fault::DoneThenBlackHole) => {
            drop(call(&service, request.map(Body::from)).await?);
            pending().await
        }
        Some(Fault::Held) => {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            healed(&shared).await;
            call(&service, http::Request::from_parts(head, Body::from(body))).await
        }
        Some(Fault::HeldThenAnswer(status, code)) => {
            drain(request.into_body()).await?;
            healed(&shared).await;
            answer(status, code)
        }
        Some(Fault::DoneThenHeld) => {
            let done = call(&service, request.map(Body::from)).await?;
            healed(&shared).await;
            Ok(done)
        }
        Some(Fault::Changed) => CHANGED.scope((), call(&service, request.map(Body::from))).await,
    }
}

/// The whole answer is made before any of it is sent, so that what was done is done.
async fn call(service: &S3Service, request: http::Request<Body>) -> Result<Response<Body>, Cut> {
    let response = service.call(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, Body::from(body)))
}

/// Waits until there are no rules any more.
async fn healed(shared: &Shared) {
    while !shared.faults().is_empty() {
        tokio::time::sleep(LOOK).await;
    }
}

fn head(request: &http::Request<Incoming>) -> Request {
    let uri = request.uri();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Request {
        operation: operation(request.method(), uri.path(), uri.query().unwrap_or_default()),
        path: uri.path().to_owned(),
        headers,
    }
}

fn answer(status: u16, code: &str) -> Result<Response<Body>, Cut> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    );
    let body = Body::http_body(Full::new(Bytes::from(xml)));
    Ok(Response::builder().status(status).header(CONTENT_TYPE, "application/xml").body(body)?)
}

async fn drain(body: Incoming) -> Result<(), Cut> {
    read(body, usize::MAX).await
}

async fn read(mut body: Incoming, limit: usize) -> Result<(), Cut> {
    let mut read = 0;
    while read < limit
        && let Some(frame) = body.frame().await
    {
        read += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(())
}

fn cut() -> Cut {
    Box::new(io::Error::from(io::ErrorKind::ConnectionReset))
}
