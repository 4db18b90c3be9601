//! What holds for every placement, drawn by lot.

use base::Prng;

use super::ip;
use crate::place::{Card, Distribution, Ground, Holder, Occasion, Rule, Takeover, Wanted, place};

fn below(prng: &mut Prng, end: u64) -> u64 {
    prng.range(0..=end - 1)
}

/// Interfaces of which some are dead or stand by, and addresses of which some stand somewhere.
fn draw(prng: &mut Prng, takeover: Takeover) -> (Vec<Ground>, Vec<Wanted>) {
    let wishes = Distribution::NAMED;
    let wish = |prng: &mut Prng| wishes[below(prng, wishes.len() as u64) as usize].1;
    let mut cards: Vec<Card> = (0..1 + below(prng, 5))
        .map(|number| Card {
            name: format!("eth{number}"),
            trouble: (below(prng, 4) == 0).then(|| "is dead".to_owned()),
            is_standby: below(prng, 5) == 0,
            own: match below(prng, 4) {
                0 => Vec::new(),
                1 => vec![(ip(&format!("10.9.0.{}", 200 + number)), 24)],
                _ => vec![(ip(&format!("10.{number}.0.1")), 24)],
            },
            carries: Vec::new(),
        })
        .collect();
    let mut wanted = Vec::new();
    for number in 0..below(prng, 30) {
        let distribution = (below(prng, 3) == 0).then(|| wish(prng));
        let is_fixed = below(prng, 6) == 0;
        let name = format!("s{}", below(prng, 4));
        let holder = match below(prng, 8) {
            0 => Holder::Persistent,
            _ => Holder::Service { name, distribution, is_fixed },
        };
        let address = ip(&format!("10.9.0.{number}"));
        wanted.push(Wanted { address, prefix: 24, net: "lan".into(), holder });
        if below(prng, 2) == 0 {
            let card = below(prng, cards.len() as u64) as usize;
            cards[card].carries.push(address);
        }
    }
    let source = (below(prng, 2) == 0).then(|| ip("10.9.0.3"));
    let distribution = wish(prng);
    (vec![Ground { net: "lan".into(), distribution, takeover, source, cards }], wanted)
}

fn card_of(grounds: &[Ground], name: &str) -> Card {
    let card = grounds[0].cards.iter().find(|card| card.name == name);
    card.expect("it names an interface of the network").clone()
}

/// As if the placements had been carried out.
fn carry_out(grounds: &mut [Ground], placements: &[crate::place::Placement]) {
    for placement in placements {
        for card in &mut grounds[0].cards {
            card.carries.retain(|other| *other != placement.address);
            if placement.card.as_ref() == Some(&card.name) {
                card.carries.push(placement.address);
            }
        }
    }
}

#[test]
fn a_wish_never_leaves_an_address_nowhere() {
    let mut prng = Prng::new(1);
    let mut nowhere = 0;
    for _ in 0..3_000 {
        let (mut grounds, wanted) = draw(&mut prng, Takeover::Alias);
        for occasion in [Occasion::Event, Occasion::Rebalance] {
            let placements = place(&grounds, &wanted, occasion);
            // Without any wish there is no more room.
            let mut plain = grounds.clone();
            plain[0].distribution = Distribution::LeastLoad;
            let mut unwishing = wanted.clone();
            for want in &mut unwishing {
                if let Holder::Service { distribution, .. } = &mut want.holder {
                    *distribution = None;
                }
            }
            let without = place(&plain, &unwishing, occasion);
            for (one, other) in placements.iter().zip(&without) {
                assert_eq!(one.rule == Rule::Nowhere, other.rule == Rule::Nowhere, "{one:?}");
                nowhere += usize::from(one.rule == Rule::Nowhere);
                if one.rule != Rule::Nowhere {
                    let card = card_of(&grounds, one.card.as_ref().expect("a place"));
                    assert_eq!(card.trouble, None, "{one:?}");
                    assert!(!(card.is_standby && card.own.is_empty()), "{one:?}");
                }
            }
            carry_out(&mut grounds, &placements);
        }
    }
    assert!(nowhere > 0, "some could not be placed at all");
}

#[test]
fn nothing_moves_without_a_cause() {
    let mut prng = Prng::new(2);
    let mut moved = 0;
    for _ in 0..3_000 {
        let (mut grounds, wanted) = draw(&mut prng, Takeover::Alias);
        let placements = place(&grounds, &wanted, Occasion::Event);
        carry_out(&mut grounds, &placements);
        assert!(
            place(&grounds, &wanted, Occasion::Event)
                .iter()
                .all(|one| matches!(one.rule, Rule::Stays | Rule::Nowhere)),
            "what was placed stays"
        );
        let dead = below(&mut prng, grounds[0].cards.len() as u64) as usize;
        grounds[0].cards[dead].trouble = Some("is dead now".into());
        let before = grounds[0].cards.clone();
        for one in place(&grounds, &wanted, Occasion::Event) {
            let was = before.iter().find(|card| card.carries.contains(&one.address));
            let works = was.filter(|card| card.trouble.is_none());
            if let Some(card) = works {
                assert_eq!(one.card.as_ref(), Some(&card.name), "{one:?}");
            } else {
                moved += usize::from(was.is_some() && one.rule != Rule::Nowhere);
            }
        }
    }
    assert!(moved > 0, "some had to move");
}

#[test]
fn a_replacement_is_alone_on_its_interface() {
    let mut prng = Prng::new(3);
    let mut full = 0;
    for _ in 0..3_000 {
        let (mut grounds, wanted) = draw(&mut prng, Takeover::Replacement);
        for card in &mut grounds[0].cards {
            card.carries.clear();
        }
        let placements = place(&grounds, &wanted, Occasion::Event);
        for card in &grounds[0].cards {
            let services = wanted.iter().zip(&placements).filter(|(want, placement)| {
                want.holder != Holder::Persistent && placement.card.as_ref() == Some(&card.name)
            });
            assert!(services.count() <= 1, "{}: {placements:?}", card.name);
        }
        full += usize::from(placements.iter().any(|one| one.why.contains("replaced already")));
    }
    assert!(full > 0, "in some there were too many");
}

#[test]
fn shared_out_by_load_no_two_interfaces_differ_by_more_than_one() {
    let mut prng = Prng::new(4);
    for _ in 0..500 {
        let (mut grounds, mut wanted) = draw(&mut prng, Takeover::Alias);
        grounds[0].distribution = Distribution::LeastLoad;
        for card in &mut grounds[0].cards {
            (card.own, card.is_standby) = (vec![(ip("10.77.0.1"), 24)], false);
        }
        for want in &mut wanted {
            want.holder =
                Holder::Service { name: "web".into(), distribution: None, is_fixed: false };
        }
        let placements = place(&grounds, &wanted, Occasion::Rebalance);
        carry_out(&mut grounds, &placements);
        let working = grounds[0].cards.iter().filter(|card| card.trouble.is_none());
        let loads: Vec<usize> = working.map(|card| card.carries.len()).collect();
        let (least, most) = (loads.iter().min(), loads.iter().max());
        if let (Some(least), Some(most)) = (least, most) {
            assert!(most - least <= 1, "{loads:?}");
        }
        let again = place(&grounds, &wanted, Occasion::Rebalance);
        let stays = |one: &crate::place::Placement| matches!(one.rule, Rule::Stays | Rule::Nowhere);
        assert!(again.iter().all(stays), "a second time moves nothing");
    }
}
