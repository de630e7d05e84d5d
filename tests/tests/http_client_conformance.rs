//! The conformance data of responses against the client, and the same data changed at random against a second reader.
#![forbid(unsafe_code)]

use std::sync::Arc;

use fastrand::Rng;
use workerman::prelude::Client;
use workerman_http::client::{Agent, ClientHttp, Error};
use workerman_tests::http::client::{self, Got};
use workerman_tests::http::data::{Case, Expected, Side, load};
use workerman_tests::http::mutate::mutated;
use workerman_tests::scripted::{run, server};
use workerman_tests::serving::PATIENCE;

#[test]
fn the_client_gives_the_verdict_of_each_case_however_it_is_cut() {
    let wrong: Vec<String> = load(Side::Client).iter().filter_map(|case| client::run(case).err()).collect();
    assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
}

#[test]
fn a_second_reader_sees_the_same_responses() {
    const ROUNDS: usize = 4000;
    let mut cases = load(Side::Client);
    cases.retain(|case| case.bytes.len() < 300 && case.asked.len() == 1);
    cases.sort_by_key(|case| !matches!(case.expected[0], Expected::Response { .. }));
    let whole = cases.iter().filter(|case| matches!(case.expected[0], Expected::Response { .. })).count();
    let mut random = Rng::with_seed(9112);
    let (mut wrong, mut read) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let method = if random.u8(..8) == 0 { "HEAD" } else { "GET" };
        let case = client::case_of(&mutated((&cases, whole), &mut random), method);
        read += usize::from(matches!(case.expected[0], Expected::Response { .. }));
        wrong.extend(client::run(&case).err());
    }
    assert!(wrong.is_empty(), "{}\n{} of {ROUNDS}", wrong.join("\n"), wrong.len());
    assert!(read > ROUNDS / 10, "only {read} inputs are responses");
}

/// The response to one request, with the body that it has; what becomes of the connection is not told.
async fn whole(agent: &Agent, method: &str, url: &str) -> Result<Got, Error> {
    let mut response = agent.request(method, url).send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(client::got(
        response.status(),
        Some(response.version()),
        response.headers(),
        response.trailers(),
        body,
        true,
    ))
}

/// All responses of a case, from a server that says its bytes, a turn for each request, and ends.
async fn over_a_socket(agent: &Agent, case: Case) -> Result<(), String> {
    let case = Arc::new(case);
    let script = Arc::clone(&case);
    let (address, _) = server(move |mut wire| {
        let case = Arc::clone(&script);
        async move {
            let mut begin = 0;
            for end in case.turns.iter().copied().chain([case.bytes.len()]) {
                // A client that tries again on a second connection gets nothing there.
                if wire.number > 1 || wire.head().await.is_none() {
                    return;
                }
                wire.say(&case.bytes[begin..end]).await;
                begin = end;
            }
        }
    })
    .await;
    let url = format!("http://{address}/");
    let mut got = Vec::new();
    for method in case.asked.iter().take(case.expected.len()) {
        got.push(whole(agent, method, &url).await.unwrap_or(Got::Error));
    }
    let mut case = Case::clone(&case);
    for expected in &mut case.expected {
        if let Expected::Response { message, .. } = expected {
            message.close = true;
        }
    }
    client::check(&case, &got).map_err(|what| format!("{}: {what}", case.place))
}

#[test]
fn the_pooled_client_gives_the_verdict_of_each_case() {
    run(async {
        let agent = Client::http_builder().timeout(PATIENCE).max_redirects(0).build();
        let mut wrong = Vec::new();
        for case in load(Side::Client) {
            wrong.extend(over_a_socket(&agent, case).await.err());
        }
        assert!(wrong.is_empty(), "{}\n{} cases", wrong.join("\n"), wrong.len());
    });
}
