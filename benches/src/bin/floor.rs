//! `floor tcp|text|frame ADDRESS`: the bare epoll server.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use workerman_benches::{arguments, floor, process};

    process::end_with_parent()?;
    let (_, address) = arguments::of_server()?;
    let listener = process::listen(address)?;
    println!("listening on {}", listener.local_addr()?);
    match floor::serve(&listener)? {}
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("this server needs epoll, and so Linux".into())
}
