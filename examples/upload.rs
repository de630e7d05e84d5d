//! Files of any size, received piece by piece while the page shows how far they are; each is answered by its checksum.
//!
//! ```sh
//! cargo run --release --example upload               # then open http://localhost:2345/, or:
//! curl -F file=@Cargo.toml -F file=@Cargo.lock http://localhost:2345/
//! ```
#![forbid(unsafe_code)]

use workerman::http::Method;
use workerman::http::multipart::{Limits, Multipart, MultipartError};
use workerman::http::routes::Routes;
use workerman::prelude::*;

const PAGE: &str = include_str!("upload.html");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2345".to_owned());
    // HEAD is answered as GET is; 400, 413 or 415, and why, if it is not a form that we take.
    let routes = Routes::builder()
        .get("/", |_| Response::html(PAGE))
        .post_async("/", async |mut request| receive(&mut request).await.unwrap_or_else(Response::from))
        .build()?;
    Worker::http(address)
        .name("upload")
        // Decided before anything of a body is read; what is not streamed has none here.
        .on_request_head(|head| match *head.method() {
            Method::POST => Admission::Stream,
            _ => Admission::Buffer(0),
        })
        .routes(routes)
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()?;
    Ok(())
}

/// Reads the form as it arrives: while this waits, so does the client, and no more than a piece is in memory.
async fn receive(request: &mut Request) -> Result<Response, MultipartError> {
    let limits = Limits::new().max_parts(100).max_file(8 << 30).max_total(8 << 30);
    let mut form = Multipart::of(request, limits)?;
    let mut report = String::new();
    while let Some(mut part) = form.next_part().await? {
        let mut checksum = crc32fast::Hasher::new();
        let mut size = 0;
        while let Some(data) = part.data().await {
            let data = data?;
            checksum.update(&data);
            size += data.len();
        }
        // The client's name for it may be anything, `../../etc/passwd` for one.
        let name = part.safe_file_name().unwrap_or_else(|| part.name().to_owned());
        report += &format!("{name}: {size} bytes, CRC-32 {:08x}\n", checksum.finalize());
    }
    Ok(Response::text(report))
}
