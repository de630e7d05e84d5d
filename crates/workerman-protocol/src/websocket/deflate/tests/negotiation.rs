//! Offers and answers (RFC 7692 section 7.1).

use super::super::{Agreed, Compressor, Deflate, NegotiationError, Outflow};
use super::{agreed, parse, takeover};
use crate::Role;

const P: &str = "permessage-deflate";

fn answer(settings: &Deflate, offers: &str) -> Option<String> {
    agreed(settings, offers).map(|agreed| agreed.to_string())
}

/// What a client with these settings makes of an answer.
fn confirmed(settings: &Deflate, answer: &str) -> Result<Option<Agreed>, NegotiationError> {
    settings.offer().confirm(&parse(answer))
}

#[test]
fn by_default_nobody_takes_over_a_context() {
    let both = format!("{P}; server_no_context_takeover; client_no_context_takeover");
    for offers in [
        P.to_owned(),
        format!("{P}; server_no_context_takeover"),
        format!("{P}; client_no_context_takeover"),
        format!("{P}; client_max_window_bits"),
        format!("{P}; client_max_window_bits=15"),
        both.clone(),
    ] {
        assert_eq!(answer(&Deflate::new(), &offers).as_ref(), Some(&both), "{offers}");
    }
    assert_eq!(Deflate::new().offer().to_string(), format!("{both}; client_max_window_bits"));
    let agreed = agreed(&Deflate::new(), P).unwrap();
    assert!(!agreed.server_takeover() && !agreed.client_takeover());
    assert_eq!((agreed.server_window_bits(), agreed.client_window_bits()), (15, 15));
    assert!(matches!(agreed.into_halves(Role::Server), (inflater, Outflow::Free(_)) if inflater.is_idle()));
}

#[test]
fn a_server_answers_every_parameter() {
    let settings = takeover();
    for (offer, expected) in [
        ("", ""),
        ("; server_no_context_takeover", "; server_no_context_takeover"),
        ("; client_no_context_takeover", "; client_no_context_takeover"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("; server_max_window_bits=8", "; server_max_window_bits=8"),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", ""),
        ("; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("; client_max_window_bits=\"10\"", "; client_max_window_bits=10"),
        (
            "; client_max_window_bits=\"1\\2\"; client_no_context_takeover; server_max_window_bits=\"11\"; \
             server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; \
             client_max_window_bits=12",
        ),
    ] {
        assert_eq!(answer(&settings, &format!("{P}{offer}")), Some(format!("{P}{expected}")), "{offer}");
    }
}

#[test]
fn a_server_asks_for_windows_of_its_own() {
    let settings = takeover().server_max_window_bits(11).client_max_window_bits(10);
    for (offer, expected) in [
        // Nothing can be asked of a client that has not said that it understands.
        ("", "; server_max_window_bits=11"),
        ("; server_max_window_bits=10", "; server_max_window_bits=10"),
        ("; server_max_window_bits=12", "; server_max_window_bits=11"),
        ("; client_max_window_bits", "; server_max_window_bits=11; client_max_window_bits=10"),
        ("; client_max_window_bits=12", "; server_max_window_bits=11; client_max_window_bits=10"),
        ("; client_max_window_bits=9", "; server_max_window_bits=11; client_max_window_bits=9"),
    ] {
        assert_eq!(answer(&settings, &format!("{P}{offer}")), Some(format!("{P}{expected}")), "{offer}");
    }
    assert_eq!(
        settings.offer().to_string(),
        format!("{P}; server_max_window_bits=11; client_max_window_bits=10")
    );
}

#[test]
fn an_offer_that_breaks_the_rules_is_not_taken() {
    for wrong in [
        "; server_no_context_takeover=1",
        "; client_no_context_takeover=true",
        "; server_max_window_bits",
        "; server_max_window_bits=7",
        "; server_max_window_bits=16",
        "; server_max_window_bits=08",
        "; server_max_window_bits=010",
        "; server_max_window_bits=1e1",
        "; server_max_window_bits=+9",
        "; server_max_window_bits=99999999999999999999",
        "; client_max_window_bits=0",
        "; client_max_window_bits=7",
        "; client_max_window_bits=16",
        "; client_max_window_bits=a",
        "; client_max_window_bits=\"16\"",
        "; server_no_context_takeover; server_no_context_takeover",
        "; client_no_context_takeover; client_no_context_takeover",
        "; server_max_window_bits=9; server_max_window_bits=9",
        "; client_max_window_bits; client_max_window_bits=9",
        "; client_max_window_bits; client_max_window_bits",
        "; unknown",
        "; unknown=1",
        "; Server_No_Context_Takeover",
        "; client_no_context_takeover; unknown",
    ] {
        let offer = format!("{P}{wrong}");
        assert!(agreed(&takeover(), &offer).is_none(), "{offer}");
        // The next one may be right.
        let two = format!("{offer}, {P}; server_max_window_bits=12");
        assert_eq!(answer(&takeover(), &two), Some(format!("{P}; server_max_window_bits=12")), "{two}");
        assert!(confirmed(&takeover(), &offer).is_err(), "as an answer: {offer}");
    }
}

#[test]
fn the_first_offer_that_can_be_taken_is() {
    let settings = takeover();
    let offers = format!(
        "x-webkit-deflate-frame, {P}; server_max_window_bits=7, foo; bar, {P}; client_max_window_bits=9, {P}"
    );
    assert_eq!(answer(&settings, &offers), Some(format!("{P}; client_max_window_bits=9")));
    assert!(agreed(&settings, "foo, Permessage-Deflate, permessage-deflate2").is_none());
    assert!(settings.accept(&[]).is_none());
}

#[test]
fn a_client_confirms_what_fits_its_offer() {
    let plain = Deflate::new();
    let both = "; server_no_context_takeover; client_no_context_takeover";
    for (settings, answer, expected) in [
        (&plain, both.to_owned(), (false, false, 15, 15)),
        (&plain, "; server_no_context_takeover".to_owned(), (false, false, 15, 15)),
        (&plain, format!("{both}; server_max_window_bits=8; client_max_window_bits=8"), (false, false, 8, 8)),
        (&takeover(), String::new(), (true, true, 15, 15)),
        (&takeover(), both.to_owned(), (false, false, 15, 15)),
        (&takeover(), "; client_no_context_takeover".to_owned(), (true, false, 15, 15)),
        (&takeover(), "; server_no_context_takeover".to_owned(), (false, true, 15, 15)),
        (&takeover(), "; server_max_window_bits=\"13\"".to_owned(), (true, true, 13, 15)),
        (&takeover().client_max_window_bits(12), String::new(), (true, true, 15, 12)),
        (
            &takeover().client_max_window_bits(12),
            "; client_max_window_bits=11".to_owned(),
            (true, true, 15, 11),
        ),
        (
            &takeover().server_max_window_bits(12),
            "; server_max_window_bits=12".to_owned(),
            (true, true, 12, 15),
        ),
    ] {
        let agreed = confirmed(settings, &format!("{P}{answer}")).unwrap().unwrap();
        let found = (
            agreed.server_takeover(),
            agreed.client_takeover(),
            agreed.server_window_bits(),
            agreed.client_window_bits(),
        );
        assert_eq!(found, expected, "{answer}");
    }
    assert!(plain.offer().confirm(&[]).unwrap().is_none(), "without compression");
}

#[test]
fn a_client_refuses_what_it_has_not_offered() {
    let refused = |settings: &Deflate, answer: &str| confirmed(settings, answer).unwrap_err();
    for answer in ["foo", "Permessage-Deflate", &format!("{P}, {P}"), &format!("{P}, foo")] {
        assert_eq!(refused(&takeover(), answer), NegotiationError::Extension, "{answer}");
    }
    for answer in ["", "; client_no_context_takeover"] {
        assert_eq!(refused(&Deflate::new(), &format!("{P}{answer}")), NegotiationError::Takeover);
    }
    let narrow = takeover().server_max_window_bits(10).client_max_window_bits(11);
    for answer in
        ["", "; server_max_window_bits=11", "; server_max_window_bits=10; client_max_window_bits=12"]
    {
        assert_eq!(refused(&narrow, &format!("{P}{answer}")), NegotiationError::Window, "{answer}");
    }
    assert_eq!(refused(&takeover(), &format!("{P}; client_max_window_bits")), NegotiationError::Value);
}

#[test]
fn all_settings_of_both_sides_come_to_the_same() {
    let all = || {
        let bits = [9, 12, 15];
        (0..36).map(move |at| {
            Deflate::new()
                .server_no_context_takeover(at % 2 == 0)
                .client_no_context_takeover(at / 2 % 2 == 0)
                .server_max_window_bits(bits[at / 4 % 3])
                .client_max_window_bits(bits[at / 12])
        })
    };
    for (client, server) in all().flat_map(|client| all().map(move |server| (client.clone(), server))) {
        let offer = client.offer();
        let theirs = agreed(&server, &offer.to_string()).unwrap();
        let ours = offer.confirm(&parse(&theirs.to_string())).unwrap().unwrap();
        for agreed in [&ours, &theirs] {
            assert_eq!(agreed.server_takeover(), client.server.takeover && server.server.takeover);
            assert_eq!(agreed.server_window_bits(), client.server.window_bits.min(server.server.window_bits));
            assert_eq!(agreed.client_takeover(), client.client.takeover && server.client.takeover);
            assert_eq!(agreed.client_window_bits(), client.client.window_bits.min(server.client.window_bits));
        }
    }
}

#[test]
fn who_comes_when_all_contexts_are_taken_gets_none() {
    let settings = takeover().max_contexts(3);
    let none = format!("{P}; server_no_context_takeover; client_no_context_takeover");
    let first = agreed(&settings, P).unwrap();
    assert!(first.server_takeover() && first.client_takeover());
    let second = agreed(&settings, P).unwrap();
    assert_eq!(second.to_string(), format!("{P}; client_no_context_takeover"));
    assert_eq!(answer(&settings, P), Some(none.clone()));
    assert_eq!(settings.offer().to_string(), format!("{none}; client_max_window_bits"));

    // The halves of a connection give back their own.
    let (inflater, outflow) = first.into_halves(Role::Server);
    assert!(!inflater.is_idle() && matches!(outflow, Outflow::Context(_)));
    drop(inflater);
    assert_eq!(settings.contexts.taken(), 2);
    drop(outflow);
    assert_eq!(settings.contexts.taken(), 1);
    // An offer that the server does not take in full gives back the rest.
    let offer = settings.clone().offer();
    assert_eq!(settings.contexts.taken(), 3);
    let confirmed = offer.confirm(&parse(&format!("{P}; server_no_context_takeover"))).unwrap();
    assert_eq!(settings.contexts.taken(), 2);
    drop(confirmed);
    drop(second);
    assert_eq!(settings.contexts.taken(), 0);
    // One that does not ask for any takes none.
    let (_inflater, _outflow) = agreed(&settings, &none).unwrap().into_halves(Role::Server);
    assert_eq!(settings.contexts.taken(), 0);
}

#[test]
fn a_compressor_has_a_number() {
    let compressor = |settings: &Deflate, role| match agreed(settings, P).unwrap().into_halves(role).1 {
        Outflow::Free(compressor) => compressor,
        Outflow::Context(_) => panic!("takeover"),
    };
    let first = compressor(&Deflate::new().level(2).min_size(77), Role::Server);
    let other = compressor(&Deflate::new().level(2).min_size(77).client_max_window_bits(12), Role::Client);
    let number = first.to_bits();
    assert!(number > 0 && number == first.to_bits());
    assert_eq!(Compressor::from_bits(number), Some(first));
    assert_eq!((first.min_size(), first.window_bits(), other.window_bits()), (77, 15, 15));
    assert!(Compressor::from_bits(0).is_none() && Compressor::from_bits(200).is_none());
}
