//! `/livez`, `/readyz` and `/metrics`. I/O.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::errors::Error;
use crate::metrics::Metrics;

/// What the endpoints answer from.
#[derive(Clone)]
pub struct Admin {
    /// Whether the operator can do its work: its definitions are there and it is not stopping.
    pub ready: Arc<AtomicBool>,
    /// All series.
    pub metrics: Arc<Metrics>,
}

/// Serves until told to stop.
pub async fn serve(listen: SocketAddr, admin: Admin, stop: CancellationToken) -> Result<(), Error> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let listener =
        tokio::net::TcpListener::bind(listen).await.map_err(|error| Error::Listen(listen, error))?;
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|error| Error::Listen(listen, error))
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for the BackupPolicy definition, or stopping")
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
