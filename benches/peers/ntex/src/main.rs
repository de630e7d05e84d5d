//! `peer-ntex ADDRESS`: ntex with one worker on its own epoll driver, without timers.
#![forbid(unsafe_code)]

use std::error::Error;

use ntex::SharedCfg;
use ntex::http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use ntex::http::{HttpServiceConfig, KeepAlive};
use ntex::time::Seconds;
use ntex::util::Bytes;
use ntex::web::{self, App, HttpResponse, HttpServer};

#[ntex::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = peer_support::listen()?;
    let http = HttpServiceConfig::new().set_keepalive(KeepAlive::Os).set_client_timeout(Seconds::ZERO);
    let server = HttpServer::new(async || {
        App::new()
            .route("/plaintext", web::get().to(async || fixed(peer_support::PLAINTEXT)))
            .route("/256", web::get().to(async || fixed(peer_support::SMALL)))
            .route("/100k", web::get().to(async || fixed(peer_support::LARGE)))
            .route("/echo", web::post().to(async |body: Bytes| response(body)))
    });
    let server = server.workers(1).maxconn(100_000).config(SharedCfg::new("peer").add(http));
    Ok(server.listen(listener)?.run().await?)
}

fn fixed(body: &'static str) -> HttpResponse {
    response(Bytes::from_static(body.as_bytes()))
}

fn response(body: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .header(SERVER, HeaderValue::from_static("ntex"))
        .header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
        .body(body)
}
