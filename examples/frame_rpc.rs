//! Requests and responses over frames (four bytes of length, then the message): `METHOD ARGUMENT..` is answered by
//! `ok RESULT` or `error REASON`, in the order of the requests. With words after the address it is the client.
//!
//! ```sh
//! cargo run --release --example frame_rpc                              # or: -- 127.0.0.1:0
//! cargo run --release --example frame_rpc -- 127.0.0.1:2347 add 1 2    # ok 3
//! printf '\0\0\0\013add 1 2' | nc -N localhost 2347 | tail -c +5       # ok 3
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use workerman::prelude::*;

fn main() -> workerman::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "127.0.0.1:2347".to_owned());
    let request = words.collect::<Vec<_>>().join(" ");
    if !request.is_empty() {
        return ask(&address, request);
    }
    Worker::frame(address)
        .name("rpc")
        .on_message_async(async |_, request| match call(&String::from_utf8_lossy(&request)).await {
            Ok(result) => format!("ok {result}"),
            Err(reason) => format!("error {reason}"),
        })
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()
}

/// The methods. While one waits, later requests of its connection wait too, those of others do not.
async fn call(request: &str) -> Result<String, String> {
    let (method, argument) = request.split_once(' ').unwrap_or((request, ""));
    match method {
        "add" => {
            let number = |word: &str| word.parse::<f64>().map_err(|_| format!("no number: {word}"));
            let sum: f64 = argument.split(' ').map(number).sum::<Result<_, _>>()?;
            Ok(sum.to_string())
        }
        "upper" => Ok(argument.to_uppercase()),
        "wait" => {
            let millis: u16 = argument.parse().map_err(|_| "wait takes milliseconds, up to 65535")?;
            sleep(Duration::from_millis(millis.into())).await.map_err(|error| error.to_string())?;
            Ok(format!("waited {millis} ms"))
        }
        _ => Err(format!("no such method: {method}")),
    }
}

/// The client: one request, one response, the end.
fn ask(address: &str, request: String) -> workerman::Result<()> {
    let client = Client::frame(address).on_connect(move |server| server.send(request.clone()));
    let client = client.on_message(|server, response| {
        println!("{}", String::from_utf8_lossy(&response));
        server.close();
    });
    Ok(client.run()?)
}
