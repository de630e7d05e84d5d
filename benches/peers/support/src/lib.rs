//! What the peers share: their address, their bodies, and their end.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::{process, thread};

/// The body of `GET /plaintext`.
pub const PLAINTEXT: &str = "Hello, World!";
/// The body of `GET /256`.
pub const SMALL: &str = match std::str::from_utf8(&[b'x'; 256]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};
/// The body of `GET /100k`.
pub const LARGE: &str = match std::str::from_utf8(&[b'x'; 102_400]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};

/// Listens at the address that is the one argument, says so, and does not outlive a bench that started this process.
///
/// # Errors
/// The command line is wrong, or the address cannot be bound.
pub fn listen() -> Result<TcpListener, Box<dyn Error + Send + Sync>> {
    listen_at(std::env::args().skip(1))
}

/// The same for the rest of a command line.
///
/// # Errors
/// It is no address, or more than one, or the address cannot be bound.
pub fn listen_at(
    mut rest: impl Iterator<Item = String>,
) -> Result<TcpListener, Box<dyn Error + Send + Sync>> {
    end_with_bench();
    let listener = TcpListener::bind(address_of(&mut rest)?)?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// The one argument: where to listen.
///
/// # Errors
/// It is missing, is no address, or is not alone.
pub fn address() -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    address_of(&mut std::env::args().skip(1))
}

fn address_of(rest: &mut impl Iterator<Item = String>) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    let address = rest.next().ok_or("the address is missing")?;
    match rest.next() {
        Some(argument) => Err(format!("unknown argument `{argument}`").into()),
        None => Ok(address.parse().map_err(|error| format!("address `{address}`: {error}"))?),
    }
}

/// Ends this process when the bench that started it ends, which closes its input.
pub fn end_with_bench() {
    if std::env::var_os("WORKERMAN_BENCH_CHILD").is_some() {
        thread::spawn(|| {
            while matches!(io::stdin().read(&mut [0; 64]), Ok(1..)) {}
            process::exit(0);
        });
    }
}
