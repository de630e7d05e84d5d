//! A table of routes over a list of tasks in memory, spoken to in JSON; pages of any origin may use it.
//!
//! ```sh
//! cargo run --release --example rest_json            # or: -- 127.0.0.1:0
//! curl localhost:2345/tasks --json '{"title":"write"}'
//! curl localhost:2345/tasks/1 -X PUT --json '{"title":"write","done":true}'
//! curl localhost:2345/tasks
//! ```
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use workerman::http::cors::Cors;
use workerman::http::routes::{Params, Routes};
use workerman::prelude::*;

#[derive(Deserialize, Serialize)]
struct Task {
    title: String,
    #[serde(default)]
    done: bool,
}

fn tasks() -> MutexGuard<'static, BTreeMap<u64, Task>> {
    static TASKS: Mutex<BTreeMap<u64, Task>> = Mutex::new(BTreeMap::new());
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(request: &Request) -> Result<Response, Response> {
    let task: Task = request.json()?;
    let mut tasks = tasks();
    let id = tasks.last_key_value().map_or(1, |(last, _)| last + 1);
    let response = Response::json(&task).with_status(201).header("location", format!("/tasks/{id}"));
    tasks.insert(id, task);
    Ok(response)
}

fn show(request: &Request) -> Result<Response, Response> {
    tasks().get(&request.param_as("id")?).map(Response::json).ok_or_else(Response::not_found)
}

fn change(request: &Request) -> Result<Response, Response> {
    let (id, new): (u64, Task) = (request.param_as("id")?, request.json()?);
    let mut tasks = tasks();
    let task = tasks.get_mut(&id).ok_or_else(Response::not_found)?;
    *task = new;
    Ok(Response::json(&*task))
}

fn remove(request: &Request) -> Result<Response, Response> {
    tasks().remove(&request.param_as("id")?).map(|_| Response::no_content()).ok_or_else(Response::not_found)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2345".to_owned());
    let routes = Routes::builder()
        .get("/tasks", |_| Response::json(&*tasks()))
        .post("/tasks", |request| add(&request))
        .get("/tasks/{id}", |request| show(&request))
        .put("/tasks/{id}", |request| change(&request))
        .delete("/tasks/{id}", |request| remove(&request))
        .cors(Cors::any().headers(["content-type"]).expose(["location"]).build()?)
        .build()?;
    let worker = Worker::http(address).name("rest_json").routes(routes);
    worker
        .on_worker_start(|worker| worker.addresses().iter().for_each(|at| println!("listening on {at}")))
        .run()?;
    Ok(())
}
