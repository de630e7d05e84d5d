//! Timers of a loop: order, repetition, cancelling from anywhere, panics.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use workerman_connection::{Error, Handlers, Service, Settings, Timer};
use workerman_event::BackendKind;
use workerman_protocol::{Line, Text};
use workerman_tests::on_real_backends;
use workerman_tests::serving::{Serving, events, next};

on_real_backends! {
    timers_fire_repeat_and_are_cancelled,
    a_timer_cancels_another_that_is_due,
    a_timer_of_no_interval_starves_nobody,
    a_panicking_timer_goes_on,
    an_endless_delay_is_never_due,
}

fn text(handlers: Handlers<Text>) -> Service<Text> {
    Service::new("test", Text::new, handlers, Settings::default())
}

fn timers_fire_repeat_and_are_cancelled(kind: BackendKind) {
    let (told, seen) = events();
    let server = Serving::start(kind, text(Handlers::new()));
    server.on_loop(move || {
        let log = told.clone();
        Timer::after(Duration::from_millis(5), move || log.send("once").unwrap()).unwrap();
        let (log, beats) = (told.clone(), Rc::new(Cell::new(0)));
        let own: Rc<RefCell<Option<Timer>>> = Rc::default();
        let me = Rc::clone(&own);
        let beat = Timer::repeat(Duration::from_millis(1), move || {
            beats.set(beats.get() + 1);
            log.send("beat").unwrap();
            if beats.get() == 3 {
                let me = me.borrow_mut().take().unwrap();
                assert!(me.cancel(), "cancelled in its own callback");
                assert!(!me.cancel(), "only once");
            }
        })
        .unwrap();
        *own.borrow_mut() = Some(beat);
        assert_eq!(Timer::count(), 2);
        let never = Timer::after(Duration::from_secs(3600), || unreachable!()).unwrap();
        assert_eq!(Timer::count(), 3);
        assert!(never.cancel());
    });
    let mut names: Vec<_> = (0..4).map(|_| next(&seen)).collect();
    names.sort_unstable();
    assert_eq!(names, ["beat", "beat", "beat", "once"]);
    server.on_loop(|| {
        assert_eq!(Timer::count(), 0);
        for _ in 0..10 {
            Timer::repeat(Duration::ZERO, || ()).unwrap();
        }
        assert_eq!((Timer::cancel_all(), Timer::count()), (10, 0));
    });
    assert!(seen.try_recv().is_err());
    assert!(matches!(Timer::after(Duration::ZERO, || ()), Err(Error::NoLoop)));
    assert_eq!(server.handle.snapshot().panics, 0);
}

fn a_timer_cancels_another_that_is_due(kind: BackendKind) {
    let (told, seen) = events();
    let server = Serving::start(kind, text(Handlers::new()));
    server.on_loop(move || {
        let victims: Rc<RefCell<Vec<Timer>>> = Rc::default();
        let (list, log) = (Rc::clone(&victims), told.clone());
        Timer::after(Duration::ZERO, move || {
            for victim in list.borrow_mut().drain(..) {
                assert!(victim.cancel());
            }
            log.send("first").unwrap();
        })
        .unwrap();
        for _ in 0..3 {
            let log = told.clone();
            let victim = Timer::repeat(Duration::ZERO, move || log.send("victim").unwrap()).unwrap();
            victims.borrow_mut().push(victim);
        }
        Timer::after(Duration::from_millis(1), move || told.send("last").unwrap()).unwrap();
    });
    assert_eq!((next(&seen), next(&seen)), ("first", "last"));
}

fn a_timer_of_no_interval_starves_nobody(kind: BackendKind) {
    let (told, seen) = events();
    let server = Serving::start(kind, text(Handlers::new().on_message(|_, line: Line| line)));
    server.on_loop(move || {
        Timer::repeat(Duration::ZERO, || ()).unwrap();
        // A task of the user's beside the loop.
        drop(workerman_event::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            told.send(()).unwrap();
        }));
    });
    let mut peer = server.peer();
    for n in 0..100 {
        peer.say(format!("{n}\n"));
        assert_eq!(peer.line(), Some(n.to_string()));
    }
    next(&seen);
}

fn a_panicking_timer_goes_on(kind: BackendKind) {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("expected by the test, of a dropped closure");
        }
    }
    let (told, seen) = events();
    let server = Serving::start(kind, text(Handlers::new()));
    server.on_loop(move || {
        let mut calls = 0;
        Timer::repeat(Duration::ZERO, move || {
            calls += 1;
            if calls == 4 {
                told.send(()).unwrap();
            }
            assert!(calls >= 4, "expected by the test");
        })
        .unwrap();
    });
    next(&seen);
    assert_eq!(server.handle.snapshot().panics, 3);
    // Closures that panic when they are dropped, several at once.
    server.on_loop(|| {
        for _ in 0..3 {
            let bomb = Bomb;
            Timer::after(Duration::from_secs(3600), move || drop(bomb)).unwrap();
        }
        assert_eq!(Timer::cancel_all(), 4);
    });
    assert_eq!(server.handle.snapshot().panics, 6);
    // A payload that panics when it is dropped.
    server.on_loop(|| {
        Timer::after(Duration::ZERO, || std::panic::panic_any(Bomb)).unwrap();
    });
    server.settle();
    assert_eq!(server.handle.snapshot().panics, 7);
}

fn an_endless_delay_is_never_due(kind: BackendKind) {
    let server = Serving::start(kind, text(Handlers::new()));
    server.on_loop(|| {
        let once = Timer::after(Duration::MAX, || unreachable!()).unwrap();
        let again = Timer::repeat(Duration::MAX, || unreachable!()).unwrap();
        assert_eq!(Timer::count(), 2);
        assert!(once.cancel() && again.cancel());
    });
    let drained = workerman_event::block_on(server.handle.drain(Duration::MAX)).unwrap().unwrap();
    assert_eq!((drained.finished, drained.cut), (0, 0));
}
