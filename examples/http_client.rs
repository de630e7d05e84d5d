//! Gets what is behind a URL and writes it to the standard output; the exit status is 0 only if it arrived whole.
//! `--timeout` is for each request from its beginning to the last byte; `--repeat` asks again, on the same connection
//! where the server keeps it.
//!
//! ```sh
//! cargo run --release --example http_client http://localhost:2345/some/path
//! cargo run --release --example http_client http://localhost:2345/ --method DELETE --timeout 5 --repeat 3
//! ```
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use workerman::http::client::{Agent, ClientHttp};
use workerman::prelude::*;

const USAGE: &str = "usage: http_client URL [--method M] [--timeout S] [--repeat N]";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let (mut url, mut method, mut timeout, mut repeat) = (None, "GET".to_owned(), 30.0, 1u64);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--method" => method = value()?,
            "--timeout" => timeout = value()?.parse().map_err(|_| USAGE)?,
            // To ask nobody is nothing that could have arrived whole.
            "--repeat" => repeat = value()?.parse().ok().filter(|times| *times > 0).ok_or(USAGE)?,
            _ if url.is_none() && !argument.starts_with('-') => url = Some(argument),
            _ => return Err(USAGE.into()),
        }
    }
    let (url, timeout) = (url.ok_or(USAGE)?, Duration::try_from_secs_f64(timeout).map_err(|_| USAGE)?);
    workerman::block_on(async {
        let http = Client::http_builder().timeout(None).build();
        for _ in 0..repeat {
            let fetch = fetch(&http, &method, &url);
            tokio::time::timeout(timeout, fetch).await.map_err(|_| "it took too long")??;
        }
        Ok(())
    })?
}

async fn fetch(http: &Agent, method: &str, url: &str) -> Result<(), Failure> {
    let mut response = http.request(method, url).send().await?;
    let mut out = std::io::stdout().lock();
    // A body that breaks off is an error here, and never an end.
    while let Some(piece) = response.chunk().await? {
        out.write_all(&piece)?;
    }
    out.flush()?;
    Ok(())
}
