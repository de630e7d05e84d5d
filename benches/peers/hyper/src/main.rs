//! `peer-hyper ADDRESS`: hyper on one thread with its pipeline flush on, as those set it who look at such numbers.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::io;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = peer_support::listen()?;
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    match runtime.block_on(serve(listener))? {}
}

async fn serve(listener: std::net::TcpListener) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let mut http = http1::Builder::new();
    http.pipeline_flush(true);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http.serve_connection(TokioIo::new(stream), service_fn(answer));
        spawn_local(async move {
            // A client that resets its connection ends that one only.
            let _ = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/plaintext") => {
            (StatusCode::OK, Bytes::from_static(peer_support::PLAINTEXT.as_bytes()))
        }
        (&Method::GET, "/256") => (StatusCode::OK, Bytes::from_static(peer_support::SMALL.as_bytes())),
        (&Method::GET, "/100k") => (StatusCode::OK, Bytes::from_static(peer_support::LARGE.as_bytes())),
        (&Method::POST, "/echo") => (StatusCode::OK, request.into_body().collect().await?.to_bytes()),
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("hyper"));
    Ok(response)
}
