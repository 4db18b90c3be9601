//! What the polls of interfaces find, without their frames.
//!
//! How one card is judged by the frames of others is `network::health`'s own matter, and tried there with
//! cards and switches as objects. Here is played what all nodes together make of it: a card that has a
//! carrier and hears nobody for some polls is silent, whatever keeps the others' frames away. So each
//! fault that leaves carriers alone (a cut, one direction, a split, a network that fails as a whole) is one
//! that only polls can see.

use std::collections::BTreeMap;

use network::Condition;
use node::Input;

use crate::cards::card_name;
use crate::world::World;

/// Polls that decide.
const POLLS: u8 = 3;

/// What a daemon's polls have found of a network.
#[derive(Clone, Debug)]
pub struct Polled {
    condition: Condition,
    /// The newest polls that said otherwise, in a row.
    against: u8,
}

impl World {
    /// One poll by every daemon that runs.
    pub(crate) fn polls(&mut self) {
        for number in 0..self.machines.len() {
            if !self.says_polls(number) {
                continue;
            }
            let networks =
                (0..self.wires.count()).filter(|network| self.wires.is_on(*network, number));
            let cards = networks.flat_map(|network| {
                (0..self.setup.second(network).cards()).map(move |card| (network, card))
            });
            let found: Vec<((usize, u8), Condition)> =
                cards.map(|card| (card, self.poll(number, card))).collect();
            let machine = &mut self.machines[number];
            let Some(daemon) = machine.daemon.as_deref_mut() else { continue };
            let mut is_news = false;
            for (card, found) in found {
                let fresh = || Polled { condition: Condition::Unproven, against: 0 };
                let polled = daemon.polled.entry(card).or_insert_with(fresh);
                // Carriers need no counting, and prove nothing when they return.
                let is_lost = matches!(found, Condition::Fails(_));
                if matches!(polled.condition, Condition::Fails(_)) && !is_lost {
                    *polled = fresh();
                    is_news = true;
                }
                polled.against = if polled.condition == found { 0 } else { polled.against + 1 };
                if polled.against >= POLLS || is_lost && polled.condition != found {
                    *polled = Polled { condition: found, against: 0 };
                    is_news = true;
                }
            }
            if is_news {
                let told = daemon.polled.iter();
                let told: BTreeMap<String, Condition> = told
                    .map(|((network, card), polled)| {
                        (card_name(*network, *card), polled.condition.clone())
                    })
                    .collect();
                self.tell(number, Input::Network(network::Input::Health(told)));
            }
        }
    }

    /// Whether the daemon of a machine can say that it is there.
    fn says_polls(&self, number: usize) -> bool {
        let machine = &self.machines[number];
        machine.is_on && machine.frozen_until.is_none() && machine.awake().is_some()
    }

    fn poll(&self, number: usize, (network, card): (usize, u8)) -> Condition {
        if !self.wires.has_carrier(network, number, card) {
            return Condition::Fails("has no carrier".to_owned());
        }
        let cards = 0..self.setup.second(network).cards();
        let hears_from = |other: usize| {
            let is_other = |from: &u8| (other, *from) != (number, card);
            let mut cards = cards.clone().filter(is_other);
            cards.any(|from| self.wires.connects(network, (other, from), (number, card)))
        };
        let mut others = self.wires.machines_on(network);
        let hears = others.any(|other| self.says_polls(other) && hears_from(other));
        if hears { Condition::Works } else { Condition::Silent }
    }
}
