//! `/livez`, `/readyz` and `/metrics`. I/O.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::errors::Error;
use crate::metrics::Metrics;

/// What the endpoints answer from.
#[derive(Clone)]
pub struct Admin {
    /// Whether the definitions are there, so that this replica works or could take over.
    pub ready: Arc<AtomicBool>,
    /// Told when the process is to stop: it is not ready from that moment on.
    pub stop: CancellationToken,
    /// All series.
    pub metrics: Arc<Metrics>,
}

/// Takes the address, so that a process that cannot be probed does not start to work.
pub async fn listen(listen: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(listen).await.map_err(|error| Error::Listen(listen, error))?;
    let address = listener.local_addr().map_err(|error| Error::Listen(listen, error))?;
    tracing::info!(%address, "serving /livez, /readyz and /metrics");
    Ok(listener)
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "/livez, /readyz and /metrics are served no more");
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for the definitions: the log says why")
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.encode() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            let plain = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, plain, error.to_string())
        }
    }
}
