//! `plain-tokio tcp|text|frame ADDRESS`: the hand-written tokio server.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use workerman_benches::{arguments, plain, process};

    process::end_with_parent()?;
    let (wire, address) = arguments::of_server()?;
    let listener = process::listen(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    match runtime
        .block_on(async { plain::serve(tokio::net::TcpListener::from_std(listener)?, wire).await })? {}
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("the comparison runs on Linux only".into())
}
