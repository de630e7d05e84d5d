//! `peer-axum ADDRESS`: axum on one thread, by its own `serve`.
#![forbid(unsafe_code)]

use std::error::Error;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

const FIELDS: [(HeaderName, HeaderValue); 2] =
    [(SERVER, HeaderValue::from_static("axum")), (CONTENT_TYPE, HeaderValue::from_static("text/plain"))];

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = peer_support::listen()?;
    listener.set_nonblocking(true)?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?.tap_io(|stream| {
            // Without it answers are only slower.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router()).await?)
    })
}

fn router() -> Router {
    Router::new()
        .route("/plaintext", get(|| fixed(peer_support::PLAINTEXT)))
        .route("/256", get(|| fixed(peer_support::SMALL)))
        .route("/100k", get(|| fixed(peer_support::LARGE)))
        .route("/echo", post(|body: Bytes| async { (FIELDS, body) }))
}

async fn fixed(body: &'static str) -> impl IntoResponse {
    (FIELDS, body)
}
