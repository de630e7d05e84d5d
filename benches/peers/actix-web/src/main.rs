//! `peer-actix-web ADDRESS`: actix-web with one worker and without timers.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use actix_web::http::KeepAlive;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = peer_support::listen()?;
    let server = HttpServer::new(|| {
        App::new()
            .route("/plaintext", web::get().to(async || fixed(peer_support::PLAINTEXT)))
            .route("/256", web::get().to(async || fixed(peer_support::SMALL)))
            .route("/100k", web::get().to(async || fixed(peer_support::LARGE)))
            .route("/echo", web::post().to(async |body: Bytes| response(body)))
    });
    let server = server
        .workers(1)
        .max_connections(100_000)
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::ZERO);
    Ok(server.listen(listener)?.run().await?)
}

fn fixed(body: &'static str) -> HttpResponse {
    response(Bytes::from_static(body.as_bytes()))
}

fn response(body: Bytes) -> HttpResponse {
    let mut response = HttpResponse::with_body(actix_web::http::StatusCode::OK, body);
    response.headers_mut().insert(SERVER, HeaderValue::from_static("actix-web"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.map_into_boxed_body()
}
