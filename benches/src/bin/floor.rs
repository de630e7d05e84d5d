//! `floor tcp|text|frame ADDRESS`, or `floor http|websocket ADDRESS --case NAME`: the bare epoll server.
#![forbid(unsafe_code)]

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use std::net::SocketAddr;

    use workerman_benches::arguments::Arguments;
    use workerman_benches::floor::{self, Echo};
    use workerman_benches::http::floor::{Bodies, Fixed};
    use workerman_benches::wire::Wire;
    use workerman_benches::{http, process, websocket};

    /// Whose messages are answered.
    enum Field {
        Echo,
        Http(http::Case),
        WebSocket(websocket::Case),
    }

    process::end_with_parent()?;
    let mut arguments = Arguments::of_process();
    let protocol: String = arguments.word("protocol (tcp, text, frame, http or websocket)")?;
    let address: SocketAddr = arguments.word("address")?;
    let field = match &*protocol {
        "http" => Field::Http(arguments.option("--case")?.ok_or("--case is missing")?),
        "websocket" => Field::WebSocket(arguments.option("--case")?.ok_or("--case is missing")?),
        wire => {
            // Whichever it is, its messages go back as they came.
            wire.parse::<Wire>()?;
            Field::Echo
        }
    };
    arguments.finish()?;
    let listener = process::listen(address)?;
    println!("listening on {}", listener.local_addr()?);
    match match field {
        Field::Echo => floor::serve(&listener, Echo),
        Field::Http(case) if case.echoes() => floor::serve(&listener, Bodies::new(&case)),
        Field::Http(case) => floor::serve(&listener, Fixed::new(&case)),
        Field::WebSocket(case) => floor::serve(&listener, websocket::floor::Fixed::new(&case)),
    }? {}
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("this server needs epoll, and so Linux".into())
}
