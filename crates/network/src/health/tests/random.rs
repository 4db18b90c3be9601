//! Faults by lot on cards, cables, switches and processes, judged by who knows the truth.
//!
//! The oracle sees the objects, which the machines do not. It says only what must hold whatever the
//! order of events:
//!
//! - a card is not found down by counting while it and another own card on its switch are well;
//! - nothing is found down by counting while no switch forwards;
//! - a dead card beside a well one that hears somebody is down in time;
//! - when all is repaired, all are up in time.

use base::Prng;

use super::*;

const NODES: usize = 3;

fn is_counted(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Down(
            Fault::NoTraffic
                | Fault::Deaf
                | Fault::NoTarget
                | Fault::Refuses
                | Fault::DriverError
                | Fault::SendErrors
        )
    )
}

struct Run {
    world: World,
    prng: Prng,
    /// When each card and another of its node began to be well on one live switch.
    well: Vec<Vec<Option<Instant>>>,
    /// Since when no switch forwards.
    dark: Option<Instant>,
    seed: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut prng = Prng::new(seed);
        let cards: Vec<usize> = (0..NODES).map(|_| prng.range(1..=3) as usize).collect();
        let detection = if prng.chance(1, 2) { Detection::InOut } else { Detection::InOnlyOrInOut };
        let mut world = World::new(&cards, detection);
        world.noise = prng.chance(1, 2);
        world.switches = vec![true; prng.range(1..=2) as usize];
        for machine in &mut world.machines {
            for object in &mut machine.cards {
                object.switch = prng.range(0..=world.switches.len() as u64 - 1) as usize;
            }
        }
        let well = cards.iter().map(|count| vec![None; *count]).collect();
        Run { world, prng, well, dark: None, seed }
    }

    fn blow(&mut self) {
        let node = self.prng.range(0..=NODES as u64 - 1) as usize;
        let card = self.prng.range(0..=self.well[node].len() as u64 - 1) as usize;
        let kind = self.prng.range(0..=12);
        let switch = self.prng.range(0..=self.world.switches.len() as u64 - 1) as usize;
        let object = self.world.object(node, card);
        match kind {
            0 => object.deaf ^= true,
            1 => object.dumb ^= true,
            2 => (object.deaf, object.dumb) = (true, true),
            3 => object.card.carrier ^= true,
            4 => object.card.up ^= true,
            5 => object.broken ^= true,
            6 => object.refuses ^= true,
            7 => object.card.rx = 0,
            8 => self.world.switches[switch] ^= true,
            9 => self.world.noise ^= true,
            10 => self.world.uplink ^= true,
            11 => self.world.machines[node].is_paused ^= true,
            _ => (object.deaf, object.dumb, object.card.carrier) = (false, false, true),
        }
    }

    /// Whether a card is well, and another one of its node on the same live switch.
    fn is_well(&self, node: usize, card: usize) -> bool {
        let cards = &self.world.machines[node].cards;
        let on = cards[card].switch;
        let mut others = cards.iter().enumerate().filter(|(other, _)| *other != card);
        self.world.switches[on]
            && cards[card].is_well()
            && others.any(|(_, other)| other.switch == on && other.is_well())
    }

    fn pass(&mut self, steps: u64) {
        for _ in 0..steps {
            for node in 0..NODES {
                for card in 0..self.well[node].len() {
                    let since = match self.is_well(node, card) {
                        true => self.well[node][card].or(Some(self.world.now)),
                        false => None,
                    };
                    self.well[node][card] = since;
                }
            }
            let is_dark = !self.world.switches.iter().any(|works| *works);
            self.dark = if is_dark { self.dark.or(Some(self.world.now)) } else { None };
            self.world.pass(LOOK);
            self.check();
        }
    }

    fn check(&mut self) {
        let now = self.world.now;
        // A round that began before has seen the time before.
        let long = |since: Option<Instant>| since.is_some_and(|at| now.since(at) > INTERVAL * 2);
        for node in 0..NODES {
            let said = std::mem::take(&mut self.world.machines[node].said);
            for (_, name, verdict) in said {
                let card = name[3..].parse::<usize>().expect("a number");
                let context = format!("seed {}: {name} of {node} is {verdict:?}", self.seed);
                if is_counted(verdict) {
                    assert!(!long(self.well[node][card]), "{context}, and is well");
                    let is_own_trouble =
                        matches!(verdict, Verdict::Down(Fault::DriverError | Fault::Refuses));
                    assert!(is_own_trouble || !long(self.dark), "{context}, without a switch");
                }
            }
        }
    }

    fn repair(&mut self) {
        self.world.switches.iter_mut().for_each(|works| *works = true);
        (self.world.noise, self.world.uplink) = (true, true);
        for machine in &mut self.world.machines {
            machine.is_paused = false;
            for object in &mut machine.cards {
                (object.deaf, object.dumb, object.broken, object.refuses) = Default::default();
                (object.card.up, object.card.carrier) = (true, true);
            }
        }
    }

    fn assert_all_up(&self) {
        for (node, cards) in self.well.iter().enumerate() {
            for card in 0..cards.len() {
                let verdict = self.world.verdict(node, card);
                assert_eq!(verdict, Verdict::Up, "seed {}: card {card} of {node}", self.seed);
            }
        }
    }
}

#[test]
fn whatever_happens_the_well_are_not_accused_and_the_dead_are_found() {
    let (mut blows, mut counted) = (0_u64, 0_u64);
    for seed in 0..400 {
        let mut run = Run::new(seed);
        for _ in 0..run.prng.range(5..=25) {
            run.blow();
            blows += 1;
            let steps = run.prng.range(1..=120);
            run.pass(steps);
        }
        run.repair();
        run.pass(20 * (u64::from(POLLS) + 3));
        run.assert_all_up();

        // One dies without a sign, beside one that is well on the same switch.
        let node = run.prng.range(0..=NODES as u64 - 1) as usize;
        let victim = run.prng.range(0..=run.well[node].len() as u64 - 1) as usize;
        let has_other = run.is_well(node, victim);
        run.world.kill(node, victim);
        run.pass(20 * (u64::from(POLLS) + 2));
        let others_hear = run.well[node].len() > 1;
        let expected = if others_hear { down(Fault::NoTraffic) } else { SILENT };
        assert_eq!(run.world.verdict(node, victim), expected, "seed {seed}");
        assert!(others_hear || !has_other);
        counted += u64::from(others_hear);
        run.world.heal(node, victim);
        run.pass(20 * (u64::from(POLLS) + 3));
        run.assert_all_up();
    }
    assert!(blows > 4_000 && counted > 100, "{blows} blows, {counted} found");
}
