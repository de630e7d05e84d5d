//! Every shape of a handler that compiles, with nothing more written down than a user would write.
use std::time::Duration;

use workerman::prelude::*;
use workerman::{Handle, LoopHandle};

fn text() -> Worker<Text> {
    Worker::text("127.0.0.1:0")
}

#[derive(Debug)]
struct Mine;

impl std::fmt::Display for Mine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("mine")
    }
}

impl std::error::Error for Mine {}

fn find(_: &Line) -> Result<u32, Mine> {
    Err(Mine)
}

fn main() {
    // Nothing, a reply of several types, the status of a send.
    let _ = text().on_message(|_, _| {});
    let _ = text().on_message(|_, line| line);
    let _ = text().on_message(|_, _| "static");
    let _ = text().on_message(|_, line| format!("<{line}>"));
    let _ = text().on_message(|_, _| Bytes::new());
    let _ = text().on_message(|_, _| vec![1, 2, 3]);
    let _ = text().on_message(|conn, line| conn.send(line));
    let _ = text().on_message(|conn, line| conn.close_with(line));
    let _ = Worker::tcp("127.0.0.1:0").on_message(|_, bytes| bytes);
    let _ = Worker::frame("127.0.0.1:0").on_message(|_, frame| frame);

    // Options and results of these.
    let _ = text().on_message(|_, line| (line == "yes").then_some("maybe"));
    let _ = text().on_message(|_, line| find(&line).map(|n| n.to_string()));
    let _ = text().on_message(|_, line| find(&line).map(drop));
    let _ = text().on_message(|conn, line| -> workerman::Result {
        let n = find(&line).map_err(|error| workerman::BoxError::from(error)).map_err(std::io::Error::other)?;
        let _ = conn.send(n.to_string())?;
        Timer::after(Duration::from_secs(1), || ())?;
        conn.worker().broadcast("news")?;
        Ok(())
    });
    let _ = text().on_message(|_, line| -> Result<_, workerman::BoxError> {
        let n = find(&line)?;
        let m: u32 = line.to_string().parse()?;
        Ok(format!("{}", n + m))
    });
    let _ = text().on_message(|_, line| Ok::<_, Mine>(Some(line)));

    // Futures and async closures, which need not be `Send`.
    let _ = text().on_message(|_, line| async move { line });
    let _ = text().on_message(|conn, line| {
        let conn = conn.clone();
        async move { conn.send(line) }
    });
    let _ = text().on_message_async(async |_, line| line);
    let _ = text().on_message_async(async |conn, line| {
        let not_send = std::rc::Rc::new(line);
        sleep(Duration::from_millis(1)).await?;
        let _ = conn.send(&*not_send)?;
        Ok::<_, workerman::Error>(())
    });
    let _ = text().on_connect_async(async |conn| conn.send("welcome"));

    // The other callbacks.
    let _ = text()
        .on_connect(|conn| conn.send("welcome"))
        .on_close(|conn, reason| println!("{} {reason}", conn.id()))
        .on_close(|_, reason| match reason {
            CloseReason::Panic => Err(Mine),
            _ => Ok(()),
        })
        .on_error(|conn, error| println!("{} {error}", conn.id()))
        .on_buffer_full(|conn| conn.pause())
        .on_buffer_drain(|conn| conn.resume());
    let _ = text()
        .state(async |_| Ok(7_u32))
        .on_message(|conn, _| conn.state::<u32>().to_string())
        .on_worker_start(|_| {})
        .on_worker_start(|_| Err(Mine))
        .on_worker_start(Handle::stop)
        .on_worker_stop(|worker| {
            let worker = worker.clone();
            async move {
                worker.broadcast("bye")?;
                Ok::<_, workerman::Error>(())
            }
        });
    let _ = Client::text("127.0.0.1:1")
        .on_connect(|_| "hello")
        .on_message(|conn, line| conn.close_with(line))
        .on_message_async(async |_, line| line);
    assert!(LoopHandle::current().is_none());
}
