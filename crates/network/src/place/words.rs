//! The reasons of a placement as sentences.

use super::choose::{Choice, Seat, Table};
use super::{Distribution, Holder, Placement, Rule, Takeover, Wanted};

/// Interfaces that a sentence names.
const NAMES_MAX: usize = 6;

/// An address has a place.
pub(super) fn placement(
    table: &Table<'_>,
    want: &Wanted,
    choice: &Choice,
    candidates: &[usize],
    (was, seat): (Option<usize>, usize),
) -> Placement {
    let name = |seat: usize| table.seats[seat].card.name.clone();
    let stays = was == Some(seat);
    let reason = reason(table, want, choice, candidates);
    let is_bound = want.holder == Holder::Persistent;
    let later = (stays && choice.seat != seat && !is_bound)
        .then(|| format!("{} would be better ({reason}): at its next move", name(choice.seat)));
    let left = was.filter(|_| !stays).map(|was| {
        let why = table.obstacle(was, want);
        let why = why.unwrap_or_else(|| "is less good".to_owned());
        format!("{} {why}", name(was))
    });
    let why = if stays { format!("it is on {} already", name(seat)) } else { reason };
    Placement {
        address: want.address,
        card: Some(name(seat)),
        rule: if stays { Rule::Stays } else { choice.rule },
        why,
        left,
        // What is dropped only for a place that it does not go to is part of `later`.
        dropped: choice.dropped.clone(),
        later,
    }
}

/// No interface can carry an address; it is left where it was.
pub(super) fn nowhere(table: &Table<'_>, want: &Wanted, was: Option<usize>) -> Placement {
    let net = &table.ground.net;
    let obstacles = table.seats.iter().enumerate().take(NAMES_MAX).map(|(index, seat)| {
        let why = table.obstacle(index, want).unwrap_or_default();
        format!("{} {why}", seat.card.name)
    });
    let obstacles: Vec<String> = obstacles.collect();
    let why = match obstacles.len() {
        0 => format!("this node has no interface in {net}"),
        _ => {
            let more = table.seats.len() - obstacles.len();
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("no interface in {net} can carry it: {}{more}", obstacles.join("; "))
        }
    };
    // What belongs to the node is never taken away, so that it works when its interface does.
    let stays = was.filter(|_| want.holder == Holder::Persistent);
    Placement {
        address: want.address,
        card: stays.map(|seat| table.seats[seat].card.name.clone()),
        rule: Rule::Nowhere,
        why,
        left: None,
        dropped: None,
        later: None,
    }
}

/// The network is not one of this node's.
pub(super) fn no_network(want: &Wanted) -> Placement {
    Placement {
        address: want.address,
        card: None,
        rule: Rule::Nowhere,
        why: format!("this node has no end in {}", want.net),
        left: None,
        dropped: None,
        later: None,
    }
}

/// Why a wish cannot be fulfilled.
pub(super) fn dropped(table: &Table<'_>, wish: Distribution) -> String {
    let net = &table.ground.net;
    let of = |has: &dyn Fn(&Seat<'_>) -> bool| {
        let seat = table.seats.iter().find(|seat| has(seat))?;
        let why = seat.card.trouble.as_deref().unwrap_or("cannot carry it");
        Some(format!("{} {why}", seat.card.name))
    };
    let why = match wish {
        Distribution::CollocationPersistent => {
            let broken = of(&|seat| !seat.persistent.is_empty());
            broken.unwrap_or_else(|| format!("this node has no persistent address in {net}"))
        }
        Distribution::AntiCollocationPersistent => {
            "all that can carry it have a persistent address".to_owned()
        }
        Distribution::CollocationSource => match table.ground.source {
            None => format!("{net} has no source address"),
            Some(source) => {
                let broken = of(&|seat| seat.card.carries.contains(&source));
                broken.unwrap_or_else(|| format!("the source address {source} is not on this node"))
            }
        },
        Distribution::AntiCollocationSource => {
            "no other than that with the source address can carry it".to_owned()
        }
        Distribution::LeastLoad | Distribution::Collocation | Distribution::AntiCollocation => {
            unreachable!("these allow every interface")
        }
    };
    format!("{} is dropped: {why}", wish.name())
}

/// Why the chosen interface and no other, in a few words.
fn reason(table: &Table<'_>, want: &Wanted, choice: &Choice, candidates: &[usize]) -> String {
    let seat = &table.seats[choice.seat];
    let name = &seat.card.name;
    match choice.rule {
        Rule::Only => {
            let can = |seat: &usize| table.obstacle(*seat, want).is_none();
            match (0..table.seats.len()).filter(can).count() {
                1 => format!("only {name} can carry it"),
                _ if table.ground.takeover == Takeover::Replacement => {
                    format!("{name} has the boot address in its subnet")
                }
                _ => format!("{name} has the smallest subnet with it"),
            }
        }
        Rule::First => {
            let load = |seat: usize| measure(table, want, choice.by, seat);
            let names: Vec<&str> =
                choice.equals.iter().map(|seat| table.seats[*seat].card.name.as_str()).collect();
            let (all, count) = (shorten(&names), load(choice.seat));
            format!("{}: {all} have {count} each, {name} comes first", choice.by.name())
        }
        Rule::Preferred(by) => {
            let others = candidates.iter().filter(|other| **other != choice.seat);
            let others: Vec<String> = others
                .map(|other| {
                    let count = measure(table, want, by, *other);
                    format!("{} {count}", table.seats[*other].card.name)
                })
                .collect();
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            let count = measure(table, want, by, choice.seat);
            let what = special(table, want, by, seat);
            let is_even =
                |other: &usize| *other != choice.seat && measure(table, want, by, *other) == count;
            // Then the load has decided, or what the interface has besides.
            let less = if what.is_empty() && candidates.iter().any(is_even) {
                "; it carries less"
            } else {
                ""
            };
            format!("{}: {name} has {count}{what}, {}{less}", by.name(), shorten(&others))
        }
        Rule::Stays | Rule::Nowhere => unreachable!("these are no choices"),
    }
}

/// What else speaks for an interface.
fn special(table: &Table<'_>, want: &Wanted, by: Distribution, seat: &Seat<'_>) -> String {
    match by {
        Distribution::CollocationPersistent => seat
            .persistent
            .first()
            .map_or_else(String::new, |one| format!(" and the persistent address {one}")),
        Distribution::AntiCollocationPersistent => " and no persistent address".to_owned(),
        Distribution::CollocationSource if table.ground.source != Some(want.address) => {
            " and the source address".to_owned()
        }
        Distribution::AntiCollocationSource if table.ground.source != Some(want.address) => {
            " and not the source address".to_owned()
        }
        _ => String::new(),
    }
}

/// The number that a distribution compares.
fn measure(table: &Table<'_>, want: &Wanted, by: Distribution, seat: usize) -> usize {
    match by {
        Distribution::LeastLoad => table.seats[seat].load(),
        _ => table.kin(want, seat),
    }
}

fn shorten(names: &[&str]) -> String {
    match names.len() {
        0..=NAMES_MAX => names.join(", "),
        all => format!("{}, and {} more", names[..NAMES_MAX].join(", "), all - NAMES_MAX),
    }
}
