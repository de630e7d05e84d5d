//! `floor tcp|text|frame ADDRESS`, or `floor http ADDRESS --case NAME`: the bare epoll server.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use std::net::SocketAddr;

    use workerman_benches::arguments::Arguments;
    use workerman_benches::floor::{self, Echo};
    use workerman_benches::http::Case;
    use workerman_benches::http::floor::{Bodies, Fixed};
    use workerman_benches::process;
    use workerman_benches::wire::Wire;

    process::end_with_parent()?;
    let mut arguments = Arguments::of_process();
    let protocol: String = arguments.word("protocol (tcp, text, frame or http)")?;
    let address: SocketAddr = arguments.word("address")?;
    let http: Option<Case> = if protocol == "http" {
        Some(arguments.option("--case")?.ok_or("--case is missing")?)
    } else {
        // Whichever it is, its messages go back as they came.
        protocol.parse::<Wire>()?;
        None
    };
    arguments.finish()?;
    let listener = process::listen(address)?;
    println!("listening on {}", listener.local_addr()?);
    match match http {
        None => floor::serve(&listener, Echo),
        Some(case) if case.echoes() => floor::serve(&listener, Bodies::new(&case)),
        Some(case) => floor::serve(&listener, Fixed::new(&case)),
    }? {}
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("this server needs epoll, and so Linux".into())
}
