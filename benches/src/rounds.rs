//! Servers measured in alternation, and their figures side by side.

use crate::spread::Spread;
use crate::traffic::Tally;

/// The longest turn of a server, in seconds.
const TURN: f64 = 0.25;

/// Gives each of `contenders` servers `seconds` a round, in turns of at most a quarter of a second, so that what else the
/// machine does meets all of them alike; returns the tallies by contender, then by round.
///
/// A contender for whom `measure` returns `None` takes no further part and has no tallies.
///
/// # Errors
/// Those of `measure`.
pub fn alternate<E>(
    contenders: usize,
    rounds: usize,
    seconds: f64,
    mut measure: impl FnMut(usize, f64) -> Result<Option<Tally>, E>,
) -> Result<Vec<Vec<Tally>>, E> {
    let mut tallies: Vec<Option<Vec<Tally>>> = vec![Some(Vec::new()); contenders];
    let turns = (seconds / TURN).ceil().max(1.0) as usize;
    for _ in 0..rounds {
        for tallies in tallies.iter_mut().flatten() {
            tallies.push(Tally::default());
        }
        for turn in 0..turns {
            for place in 0..contenders {
                // Another one begins each pair of turns, and each second turn goes backwards.
                let place = if turn % 2 == 0 { place } else { contenders - 1 - place };
                let index = (turn / 2 + place) % contenders;
                let Some(of_rounds) = &mut tallies[index] else { continue };
                match (measure(index, seconds / turns as f64)?, of_rounds.last_mut()) {
                    (Some(tally), Some(round)) => *round += tally,
                    _ => tallies[index] = None,
                }
            }
        }
    }
    Ok(tallies.into_iter().map(Option::unwrap_or_default).collect())
}

/// Processor time per message of one server to another's, each ratio taken within its round.
pub fn ratio(rounds: &[Tally], to: &[Tally]) -> Option<Spread> {
    Spread::of(rounds.iter().zip(to).map(|(ours, theirs)| ours.cpu_per_message() / theirs.cpu_per_message()))
}

/// A line per server that has tallies: medians, and the ratio of processor time per message to the first one's.
pub fn print_table<'a>(message: &str, names: impl IntoIterator<Item = &'a str>, tallies: &[Vec<Tally>]) {
    println!("{:<26} {:>12} {:>13}   ratio to floor", "server", "per second", format!("CPU us/{message}"));
    for (name, rounds) in names.into_iter().zip(tallies) {
        let rate = Spread::of(rounds.iter().map(Tally::rate));
        let cpu = Spread::of(rounds.iter().map(Tally::cpu_per_message));
        if let (Some(rate), Some(cpu), Some(ratio)) = (rate, cpu, ratio(rounds, &tallies[0])) {
            println!("{name:<26} {:>12.0} {:>13.4}   {ratio}", rate.median, cpu.median);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    fn tally(cpu: u64) -> Tally {
        Tally { messages: 10, elapsed: Duration::from_secs(1), cpu: Duration::from_micros(cpu) }
    }

    #[test]
    fn each_contender_has_the_same_turns_and_begins_in_turn() {
        let mut order = Vec::new();
        let tallies = alternate(3, 2, 1.0, |index, seconds| {
            assert_eq!(seconds, 0.25);
            order.push(index);
            Ok::<_, Infallible>(Some(tally(index as u64)))
        });
        assert_eq!(order[..12], [0, 1, 2, 2, 1, 0, 1, 2, 0, 0, 2, 1]);
        let Ok(tallies) = tallies;
        assert_eq!(tallies.iter().map(Vec::len).collect::<Vec<_>>(), [2; 3]);
        assert!(tallies.iter().flatten().all(|round| round.messages == 40));
    }

    #[test]
    fn who_fails_is_not_asked_again() {
        let mut asked = 0;
        let Ok(tallies) = alternate(2, 3, 0.1, |index, _| {
            asked += index;
            Ok::<_, Infallible>((index == 0).then(|| tally(1)))
        });
        assert_eq!(asked, 1);
        assert_eq!(tallies[0].len(), 3);
        assert!(tallies[1].is_empty());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let ratio = ratio(&[tally(2), tally(30)], &[tally(1), tally(10)]).unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (2.0, 2.5, 3.0));
    }
}
