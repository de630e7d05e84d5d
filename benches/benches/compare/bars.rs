//! Our figures beside what we want, and beside the best of the peers.

use std::collections::BTreeMap;

use crate::contender::{Contender, Kind, OURS};
use crate::field::{Bar, Case, Field, What};

/// By case and contender: the ratio to the floor, or bytes per connection.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<(Field, &'static str, String), f64>);

impl Figures {
    pub(crate) fn put(&mut self, case: &Case, contender: &str, figure: f64) {
        self.0.insert((case.field, case.name, contender.to_owned()), figure);
    }

    fn of(&self, field: Field, case: &'static str, contender: &str) -> Option<f64> {
        self.0.get(&(field, case, contender.to_owned())).copied()
    }

    /// What we want; none without the figure that it stands on.
    fn bar(&self, case: &Case) -> Option<f64> {
        match case.bar {
            Bar::None => None,
            Bar::AtMost(bar) => Some(bar),
            Bar::BeyondIdle(bytes) => Some(self.of(case.field, "idle", OURS)? + bytes),
        }
    }
}

/// A line for each case of which there is a figure of ours.
pub(crate) fn print(field: Field, contenders: &[Contender], figures: &Figures) {
    println!("\n{:<18} {:>9} {:>9}   {:<34} verdict", "bar", OURS, "at most", "best peer");
    for case in &field.cases() {
        let Some(ours) = figures.of(field, case.name, OURS) else { continue };
        let bar = figures.bar(case);
        let best = contenders
            .iter()
            .filter(|contender| contender.kind == Kind::Peer && case.unchecked != Some(&contender.name))
            .filter_map(|contender| {
                Some((figures.of(field, case.name, &contender.name)?, contender.name.as_str()))
            })
            .min_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut verdict = match bar {
            Some(bar) if ours <= bar => "met",
            Some(_) => "missed",
            None => "no bar",
        }
        .to_owned();
        verdict += match best {
            Some((best, _)) if ours < best => ", below every peer",
            Some(_) => ", not below every peer",
            None => "",
        };
        let number = |value: f64| match case.what {
            What::Idle { .. } => format!("{value:.0} B"),
            What::Traffic { .. } => format!("{value:.3}"),
        };
        println!(
            "{:<18} {:>9} {:>9}   {:<34} {verdict}",
            case.name,
            number(ours),
            bar.map_or("-".to_owned(), number),
            best.map_or("-".to_owned(), |(best, name)| format!("{} {name}", number(best))),
        );
    }
}
