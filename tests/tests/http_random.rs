//! Random scripts of requests, handlers with random delays, random links: every answer is whole and in its place.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use workerman::http::{Admission, Body, Http, Request, Response};
use workerman::sim::LinkOptions;
use workerman::{BoxError, Connection, Settings, Worker};
use workerman_tests::http_server::{Answer, Ground, Guest, Pieces, Says, post, post_chunked};

const MILLISECOND: Duration = Duration::from_millis(1);

fn links(random: &mut Rng) -> LinkOptions {
    let longest = MILLISECOND * [0, 1, 20][random.usize(0..3)];
    LinkOptions {
        segment: 1..=[3, 100, 1400, 65_536][random.usize(0..4)],
        capacity: [500, 5000, 65_536][random.usize(0..3)],
        latency: Duration::ZERO..=longest,
        ..LinkOptions::default()
    }
}

/// Bounds that are met all the time, or never.
fn settings(random: &mut Rng) -> Settings {
    Settings {
        high_water: [1000, 50_000, 1 << 20][random.usize(0..3)],
        messages_per_turn: [1, 3, 256][random.usize(0..3)],
        read_ahead: [1, 5000, 65_536][random.usize(0..3)],
        ..Settings::default()
    }
}

/// What a request asks for: how it is answered, how large, how late.
#[derive(Clone, Debug)]
struct Plan {
    number: usize,
    how: &'static str,
    size: usize,
    delay: u64,
    body: usize,
    /// The body comes in chunks of at least so many bytes; 0 for one with its length.
    chunk: usize,
    /// It would like to be told to continue, but does not wait for it.
    expects: bool,
    head: bool,
    /// A panic ends the connection and not just a task.
    is_async: bool,
}

/// In every way that needs no other request to be answered before.
const WAYS: [&str; 11] =
    ["return", "send", "token", "stream", "sized", "fail", "drop", "reject", "echo", "task", "panic"];

impl Plan {
    /// With bodies of at most so many bytes.
    fn random(number: usize, most: usize, is_async: bool, random: &mut Rng) -> Self {
        let sizes = [0, 1, 50, 100, 1000, 3000, 10_000, 70_000].map(|size| most.min(size));
        let how = WAYS[random.usize(0..WAYS.len())];
        Self {
            number,
            how,
            size: sizes[random.usize(0..sizes.len())],
            delay: [0, 0, 1, 7, 50][random.usize(0..5)],
            body: sizes[random.usize(0..sizes.len())],
            chunk: if random.bool() { 0 } else { random.usize(1..3000) },
            expects: random.u8(0..4) == 0,
            // Without an answer's body nobody reads that of an echo.
            head: how != "echo" && random.u8(0..8) == 0,
            is_async,
        }
    }

    /// The target, another one on each connection.
    fn target(&self, place: &str) -> String {
        format!("/{}/{}?size={}&delay={}&place={place}", self.how, self.number, self.size, self.delay)
    }

    fn request(&self, place: &str) -> String {
        let path = self.target(place);
        let body = self.number.to_string().repeat(self.body);
        let request = if self.chunk == 0 {
            post(&path, &body)
        } else {
            post_chunked(&path, &body, self.chunk + body.len() / 50)
        };
        let (line, fields) = request.split_once("\r\n").unwrap();
        let line = if self.head { line.replace("POST", "HEAD") } else { line.to_owned() };
        let expect = if self.expects { "Expect: 100-continue\r\n" } else { "" };
        format!("{line}\r\n{expect}{fields}")
    }

    /// Whether it is the last answer that its connection gives.
    fn ends(&self) -> bool {
        let body = self.body * self.number.to_string().len();
        match self.how {
            // A body in chunks, or one that is too large to be thrown away, or perhaps never sent.
            "reject" => self.chunk != 0 || body > 64 * 1024 || (self.expects && body > 0),
            "panic" => self.is_async,
            _ => false,
        }
    }

    fn check(&self, answer: &Answer) {
        let number = self.number.to_string();
        let body = self.body * number.len();
        let expected = match self.how {
            "fail" | "drop" | "panic" => (500, String::new()),
            "reject" => (403, number),
            "echo" => (200, number.repeat(self.body)),
            "stream" | "sized" => (200, ".".repeat(3 * self.size)),
            _ => (200, format!("{number} {body} {}", "x".repeat(self.size))),
        };
        if self.head {
            let known =
                answer.field("content-length").is_none_or(|length| length == expected.1.len().to_string());
            assert!(answer.status == expected.0 && answer.body.is_empty() && known, "{self:?} {answer:?}");
            return;
        }
        assert_eq!((answer.status, answer.body.len()), (expected.0, expected.1.len()), "{self:?}");
        assert!(answer.body == expected.1.as_bytes(), "{self:?}");
    }
}

fn number(request: &Request, name: &str) -> u64 {
    let pairs = request.query().unwrap_or_default().split('&');
    pairs
        .filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .find_map(|value| value.parse().ok())
        .unwrap()
}

async fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    } else {
        tokio::task::yield_now().await;
    }
}

async fn read(body: &mut Body) -> Result<usize, BoxError> {
    let mut read = 0;
    while let Some(piece) = body.data().await.transpose()? {
        read += piece.len();
    }
    Ok(read)
}

/// Does what a plan says. `conn` is there if nothing else waits on it, so that `send` is the answer.
async fn act(request: Request, conn: Option<&Connection<Http>>) -> Result<Option<Response>, BoxError> {
    let path = request.path().to_owned();
    let (_, how, number_of) = {
        let mut parts = path.split('/');
        (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned())
    };
    let (size, delay) = (number(&request, "size") as usize, number(&request, "delay"));
    let mut request = request;
    let told = move |read: usize| Response::text(format!("{number_of} {read} {}", "x".repeat(size)));
    Ok(Some(match how {
        "token" | "task" => {
            let reply = request.reply();
            workerman::spawn(async move {
                pause(delay).await;
                if let Ok(read) = read(request.body_mut()).await {
                    pause(delay).await;
                    let _ = reply.send(told(read));
                }
            });
            return Ok(None);
        }
        "drop" => {
            let reply = request.reply();
            workerman::spawn(async move {
                let _ = read(request.body_mut()).await;
                pause(delay).await;
                drop(reply);
            });
            return Ok(None);
        }
        "echo" => Response::bytes(request.into_body()),
        how => {
            let read = read(request.body_mut()).await?;
            pause(delay).await;
            let pieces = || {
                let pieces = Pieces::new(3, size);
                if delay > 0 { pieces.every(Duration::from_millis(delay)) } else { pieces }
            };
            match how {
                "fail" => return Err("as planned".into()),
                "panic" => panic!("as planned"),
                "send" if conn.is_some() => {
                    if let Some(conn) = conn {
                        let _ = conn.send(told(read))?;
                    }
                    return Ok(None);
                }
                "stream" => Response::stream(pieces()),
                "sized" => Response::bytes(Body::sized(3 * size as u64, pieces())),
                _ => told(read),
            }
        }
    }))
}

/// What the server has told of its requests: the target, the status of the answer, the bytes of its body.
type Log = Arc<Mutex<Vec<(String, u16, u64)>>>;

fn worker(
    ground: &Ground,
    pipeline: usize,
    is_async: bool,
    handed: &Arc<AtomicUsize>,
    log: &Log,
) -> Worker<Http> {
    let (handed, log) = (Arc::clone(handed), Arc::clone(log));
    let http = Http::new().pipeline(pipeline).request_id(true).on_access(move |access| {
        let status = access.status.map_or(0, |status| status.as_u16());
        log.lock().unwrap().push((access.target.to_owned(), status, access.body));
    });
    let worker =
        ground.worker().protocol(http).on_request_head(move |head| match head.path().split('/').nth(1) {
            Some("reject") => Admission::Reject(Response::text(head.path()[8..].to_owned()).with_status(403)),
            Some("echo" | "task") => Admission::Stream,
            _ => Admission::Buffer(10 << 20),
        });
    if is_async {
        return worker.on_message_async(async move |conn: &Connection<Http>, request| {
            handed.fetch_add(1, Ordering::SeqCst);
            act(request, (pipeline == 1).then_some(conn)).await
        });
    }
    // All by tokens: each answer in a task of its own.
    worker.on_message(move |conn, request: Request| {
        handed.fetch_add(1, Ordering::SeqCst);
        // Some take their token themselves.
        let is = |how: &str| request.path().split('/').nth(1) == Some(how);
        let sends = pipeline == 1 && is("send");
        let reply = !(sends || is("token") || is("task") || is("drop"));
        let reply = reply.then(|| request.reply());
        let conn = conn.clone();
        workerman::spawn(async move {
            if let (Ok(Some(answer)), Some(reply)) = (act(request, sends.then_some(&conn)).await, reply) {
                // Its client may be the one who leaves.
                let _ = reply.send(answer);
            }
        });
    })
}

/// What comes behind the last request: nothing, the end of the stream, a part of a request and the end, nonsense.
const BEHIND: [&str; 5] = [
    "",
    "",
    "GET / HTTP/1.1\r\nHo",
    "POST /return/0?size=0&delay=0 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    "NONSENSE\r\n\r\n",
];

/// Writes everything, with pauses of its own; ends the stream behind it, or lets it open.
async fn write(mut says: Says, asks: &str, ends: bool, random: &mut Rng) {
    let mut rest = asks.as_bytes();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.usize(1..=rest.len().min(50_000)));
        if says.try_say(piece).await.is_err() {
            return;
        }
        rest = behind;
        if random.u8(0..4) == 0 {
            pause(random.u64(0..30)).await;
        }
    }
    if ends {
        says.finish().await;
    }
}

/// Carries the plans out, on as many connections as that takes.
async fn converse(guest: &Guest, lap: &str, plans: &[Plan], log: &Log, random: &mut Rng) {
    let mut rest = plans;
    while !rest.is_empty() {
        let place = format!("{lap}-{}", rest.len());
        let behind = random.usize(0..BEHIND.len());
        let asks = rest.iter().map(|plan| plan.request(&place)).collect::<String>() + BEHIND[behind];
        let (mut reads, says) = guest.connect().await.split();
        let reading = async {
            let mut done = 0;
            for plan in rest {
                let mut answer = reads.next(plan.head).await;
                if plan.expects && answer.status == 100 {
                    answer = reads.next(plan.head).await;
                }
                plan.check(&answer);
                done += 1;
                assert!(answer.field("x-request-id").is_some());
                let target = plan.target(&place);
                let told = || -> Vec<_> {
                    log.lock().unwrap().iter().filter(|(own, ..)| *own == target).cloned().collect()
                };
                // A source may end a little later than its last byte.
                guest.until("it is told", || !told().is_empty()).await;
                assert_eq!(told(), [(target.clone(), answer.status, answer.body.len() as u64)]);
                // The client may have ended its stream behind its last request.
                let may_close = plan.ends() || done == rest.len();
                assert!(answer.closes() == plan.ends() || may_close, "{plan:?}");
                if plan.ends() {
                    reads.is_over().await;
                    return done;
                }
            }
            if BEHIND[behind].starts_with("NONSENSE") {
                let answer = reads.answer().await;
                assert_eq!((answer.status, answer.closes()), (400, true));
            }
            if behind > 0 {
                reads.is_over().await;
            }
            done
        };
        // Nonsense ends the connection by itself.
        let ends = (1..BEHIND.len() - 1).contains(&behind);
        let (done, ()) = tokio::join!(reading, write(says, &asks, ends, random));
        rest = &rest[done..];
    }
}

fn run(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let links = links(&mut random);
    // Where a read brings next to nothing, little takes long enough.
    let most = 200 * links.segment.end();
    let ground = if random.u8(0..4) == 0 { Ground::Layered(seed, links) } else { Ground::Sim(seed, links) };
    let pipeline = [1, 1, 2, 3, 10][random.usize(0..5)];
    let handed = Arc::new(AtomicUsize::new(0));
    let log = Log::default();
    let is_async = random.bool();
    let worker = worker(&ground, pipeline, is_async, &handed, &log).settings(settings(&mut random));
    let told = Arc::clone(&log);
    ground.run(worker, async move |guest| {
        let count = random.usize(1..12);
        let plans: Vec<Plan> =
            (0..count).map(|number| Plan::random(number, most, is_async, &mut random)).collect();
        converse(&guest, "first", &plans, &log, &mut random).await;
        // Whoever leaves in the middle costs nobody anything.
        let asks: String = plans.iter().map(|plan| plan.request("leaver")).collect();
        let mut leaver = guest.connect().await;
        let some = random.usize(0..asks.len().min(10_000));
        let said = tokio::time::timeout(Duration::from_secs(1), leaver.try_say(&asks[..some])).await;
        drop(said);
        if random.bool() {
            leaver.reset();
        } else {
            drop(leaver);
        }
        converse(&guest, "second", &plans, &log, &mut random).await;
        let wanted = plans.iter().filter(|plan| plan.how != "reject").count();
        assert!(handed.load(Ordering::SeqCst) >= 2 * wanted);
    });
    // Also what never had an answer is told, and nothing twice.
    let mut told: Vec<String> = told.lock().unwrap().drain(..).map(|(target, ..)| target).collect();
    told.retain(|target| target.contains("place="));
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "seed {seed}");
}

#[test]
fn every_answer_is_whole_and_in_its_place() {
    for seed in 0..200 {
        run(seed);
    }
}
