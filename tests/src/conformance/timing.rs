//! Timers and the alarm on the clock of a backend, and the loop beside other tasks.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use workerman_event::{Alarm, Backend, Timers};

use super::{Rig, World, patiently};

/// What a loop does: turns and timers, until there are none left. Returns what fired, and when.
async fn run<B: Backend, T: Copy>(
    rig: &mut Rig<B>,
    timers: &mut Timers<T>,
    most: usize,
) -> Vec<(T, Instant)> {
    let mut alarm = Alarm::new();
    let mut fired = Vec::new();
    let ring = poll_fn(|cx| {
        if rig.poll_turn(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        let now = rig.io.refresh();
        timers.begin_pass(now);
        while let Some((id, value)) = timers.pop_due() {
            fired.push((value, now));
            let _ = timers.rearm(id, value, now);
        }
        if timers.is_empty() || fired.len() >= most {
            return Poll::Ready(());
        }
        alarm.set(timers.next());
        if alarm.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    });
    patiently(ring).await.expect("the timers fire");
    fired
}

pub async fn timers_ring_in_order_and_never_early<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let mut timers = Timers::new();
    let mut random = fastrand::Rng::with_seed(1);
    let start = rig.io.refresh();
    for number in 0..200 {
        let at = start + Duration::from_micros(random.u64(0..50_000));
        timers.insert(at, None, (at, number));
    }
    let fired = run(&mut rig, &mut timers, usize::MAX).await;
    assert_eq!(fired.len(), 200);
    assert!(fired.is_sorted_by_key(|(value, _)| *value), "order");
    for ((at, _), now) in fired {
        assert!(now >= at, "{:?} early", at - now);
        // The runtime's timers have a granularity of a millisecond; real time may pass as it likes.
        assert!(!W::VIRTUAL || now - at <= Duration::from_millis(2), "{:?} late", now - at);
    }
}

pub async fn a_timer_of_no_time_starves_nothing<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let mut timers = Timers::new();
    let start = rig.io.refresh();
    timers.insert(start, Some(Duration::ZERO), "spin");
    let counter = Rc::new(Cell::new(0));
    let count = counter.clone();
    let user = tokio::task::spawn_local(async move {
        for _ in 0..10 {
            tokio::task::yield_now().await;
            count.set(count.get() + 1);
        }
    });
    timers.insert(start, None, "once");
    let fired = run(&mut rig, &mut timers, 1000).await;
    assert_eq!(fired.iter().filter(|(value, _)| *value == "once").count(), 1);
    assert_eq!(fired[1].0, "once", "in the first pass");
    assert!(user.is_finished() && counter.get() == 10);
}

pub async fn a_user_task_goes_on_beside_the_loop<W: World>(world: W) {
    let mut rig = Rig::new(world.backend());
    let before = rig.io.refresh();
    let unix = rig.io.unix_time();
    let pause = Duration::from_millis(30);
    rig.beside(tokio::task::spawn_local(tokio::time::sleep(pause))).await.unwrap();
    let after = rig.io.refresh();
    assert_eq!(after, rig.io.now());
    assert!(after - before >= pause);
    assert!(rig.io.unix_time() >= unix);
    assert_ne!(rig.io.seed(), rig.io.seed());
}
