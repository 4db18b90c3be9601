//! The library of placements: a node's interfaces and what goes on them as text, where each address goes
//! and why as text.
//!
//! Each file of `tests/place` begins with a sentence that says what it shows, then gives the situation,
//! then, after `----`, what comes of it. `UPDATE_EXPECT=1` rewrites the part below the line; look at the
//! difference before you believe it.
//!
//! ```text
//! net lan collocation source 10.9.0.1   a network; also: replacement, another distribution
//! card eth0 10.1.0.1/24                 an interface of that network with its boot addresses
//! card eth1 standby                     also: dead
//! persistent 10.9.0.5/24                of this node; `on eth0` at the end: it is there
//! want web 10.9.0.1/24 fixed            of a service; also: its own distribution, `in NET`, `on eth0`
//! stray eth0 10.9.0.77                  somebody else's
//! > fail eth0 has no carrier            events: works, want, many, release, prefer, rebalance, look
//! ```
//!
//! Below the line comes what [`place`] says of the situation itself, and of what each event makes of it.
//! What stays and has nothing more to say is left out where there is much.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use network::place::{
    Card, Distribution, Ground, Holder, Occasion, Placement, Rule, Takeover, Wanted, place,
};

const LINES_MAX: usize = 48;
const COLUMNS_MAX: usize = 200;
/// With more addresses than this a summary is written.
const LISTED_MAX: usize = 12;

#[test]
fn every_case_comes_out_as_written() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let files = files();
    assert!(files.len() >= 40, "the library has {} cases", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).expect("case files are readable");
        let (input, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let actual = run(&name, input);
        if actual == expected {
            continue;
        }
        if update {
            std::fs::write(file, format!("{input}----\n{actual}")).expect("the tree is writable");
        } else {
            wrong.push(format!("{name}\nexpected:\n{expected}\nactual:\n{actual}"));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_case_says_what_it_shows_and_fits_on_a_screen() {
    let mut sentences = std::collections::BTreeSet::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("case files are readable");
        let (first, rest) = text.split_once("\n\n").expect("a sentence and an empty line");
        assert!(first.ends_with('.'), "{}: not a sentence: {first}", file.display());
        assert!(sentences.insert(first.to_owned()), "{}: said twice: {first}", file.display());
        assert!(rest.lines().count() <= LINES_MAX, "{} is too long", file.display());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS_MAX, "{}: too wide: {line}", file.display());
        }
    }
}

/// The library shows every distribution deciding, and each one that can be dropped being dropped.
#[test]
fn every_rule_has_a_case() {
    let mut all = String::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("case files are readable");
        all.push_str(text.split_once("----\n").expect("a line between").1);
    }
    for (name, distribution) in Distribution::NAMED {
        assert!(all.contains(&format!("[{name}]")), "{name} never decides");
        assert!(all.contains(&format!("[first] {name}")), "{name} has no tie");
        let can_drop = !matches!(
            distribution,
            Distribution::LeastLoad | Distribution::Collocation | Distribution::AntiCollocation
        );
        let is_dropped = all.contains(&format!("dropped: {name} is dropped"));
        assert_eq!(is_dropped, can_drop, "whether {name} is dropped");
    }
    for word in ["[stays]", "[only]", "[nowhere]", "later: "] {
        assert!(all.contains(word), "no case with {word}");
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/place");
    let entries = std::fs::read_dir(folder).expect("the library is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

struct Case {
    name: String,
    grounds: Vec<Ground>,
    wanted: Vec<Wanted>,
}

fn run(name: &str, input: &str) -> String {
    let mut lines = input.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().expect("the sentence");
    let mut case = Case { name: name.to_owned(), grounds: Vec::new(), wanted: Vec::new() };
    let mut output = None;
    for line in lines {
        match line.strip_prefix('>') {
            None => {
                assert!(output.is_none(), "{name}: the situation comes first: {line}");
                case.happens(line);
            }
            Some(event) => {
                let output = output.get_or_insert_with(|| case.placed(Occasion::Event));
                let occasion = case.happens(event.trim());
                writeln!(output, "> {}", event.trim()).expect("a text takes all");
                output.push_str(&case.placed(occasion));
            }
        }
    }
    output.unwrap_or_else(|| case.placed(Occasion::Event))
}

impl Case {
    fn happens(&mut self, line: &str) -> Occasion {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = self.name.clone();
        match words[..] {
            ["net", net, ref rest @ ..] => {
                let mut ground = Ground { net: net.into(), ..Ground::default() };
                let mut rest = rest.iter();
                while let Some(word) = rest.next() {
                    match *word {
                        "replacement" => ground.takeover = Takeover::Replacement,
                        "source" => ground.source = Some(ip(rest.next().expect("an address"))),
                        word => ground.distribution = distribution(word),
                    }
                }
                self.grounds.push(ground);
            }
            ["card", card, ref rest @ ..] => {
                let mut one = Card { name: card.into(), ..Card::default() };
                for word in rest {
                    match *word {
                        "standby" => one.is_standby = true,
                        "dead" => one.trouble = Some("has no carrier".into()),
                        subnet => one.own.push(subnet_of(subnet)),
                    }
                }
                self.grounds.last_mut().expect("a net comes first").cards.push(one);
            }
            ["persistent", subnet, ref rest @ ..] => {
                self.want(subnet, Holder::Persistent, rest);
            }
            ["want", service, subnet, ref rest @ ..] => {
                let holder =
                    Holder::Service { name: service.into(), distribution: None, is_fixed: false };
                self.want(subnet, holder, rest);
            }
            ["many", count, service, first] => {
                let (first, prefix) = subnet_of(first);
                let IpAddr::V4(first) = first else { panic!("{name}: IPv4") };
                for number in 0..count.parse::<u32>().expect("a number") {
                    let address = IpAddr::V4((first.to_bits() + number).into());
                    let holder = Holder::Service {
                        name: format!("{service}{}", number / 10),
                        distribution: None,
                        is_fixed: false,
                    };
                    let net = self.grounds[0].net.clone();
                    self.wanted.push(Wanted { address, prefix, net, holder });
                }
            }
            ["stray", card, address] => self.card(card).carries.push(ip(address)),
            ["release", address] => {
                self.wanted.retain(|want| want.address != ip(address));
                for card in self.grounds.iter_mut().flat_map(|ground| &mut ground.cards) {
                    card.carries.retain(|other| *other != ip(address));
                }
            }
            ["switch", from, to] => {
                let own = std::mem::take(&mut self.card(from).own);
                self.card(to).own = own;
            }
            ["fail", card, ref why @ ..] => self.card(card).trouble = Some(why.join(" ")),
            ["works", card] => self.card(card).trouble = None,
            ["prefer", "service", service, wish] => {
                for want in &mut self.wanted {
                    if let Holder::Service { name, distribution: own, .. } = &mut want.holder
                        && name == service
                    {
                        *own = Some(distribution(wish));
                    }
                }
            }
            ["prefer", net, wish] => {
                let ground = self.grounds.iter_mut().find(|ground| ground.net == net);
                ground.expect("a net of the case").distribution = distribution(wish);
            }
            ["look"] => {}
            ["rebalance"] => return Occasion::Rebalance,
            _ => panic!("{name}: not understood: {line}"),
        }
        Occasion::Event
    }

    fn want(&mut self, subnet: &str, mut holder: Holder, rest: &[&str]) {
        let (address, prefix) = subnet_of(subnet);
        let mut net = self.grounds[0].net.clone();
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match (*word, &mut holder) {
                ("in", _) => net = (*rest.next().expect("a net")).to_owned(),
                ("on", _) => {
                    let card = rest.next().expect("an interface");
                    self.card(card).carries.push(address);
                }
                ("fixed", Holder::Service { is_fixed, .. }) => *is_fixed = true,
                (word, Holder::Service { distribution: own, .. }) => {
                    *own = Some(distribution(word))
                }
                (word, _) => panic!("{}: not understood: {word}", self.name),
            }
        }
        self.wanted.push(Wanted { address, prefix, net, holder });
    }

    fn card(&mut self, name: &str) -> &mut Card {
        let mut cards = self.grounds.iter_mut().flat_map(|ground| &mut ground.cards);
        cards.find(|card| card.name == name).unwrap_or_else(|| panic!("no interface {name}"))
    }

    /// Asks, and does what is said.
    fn placed(&mut self, occasion: Occasion) -> String {
        let placements = place(&self.grounds, &self.wanted, occasion);
        assert_eq!(placements.len(), self.wanted.len(), "{}: one for each", self.name);
        for (placement, want) in placements.iter().zip(&self.wanted) {
            assert_eq!(placement.address, want.address, "{}: in their order", self.name);
            let ground = self.grounds.iter_mut().find(|ground| ground.net == want.net);
            for card in ground.map(|ground| &mut ground.cards).into_iter().flatten() {
                card.carries.retain(|other| *other != want.address);
                if placement.card.as_ref() == Some(&card.name) {
                    card.carries.push(want.address);
                }
            }
        }
        let again = place(&self.grounds, &self.wanted, Occasion::Event);
        for (again, first) in again.iter().zip(&placements) {
            assert_eq!(again.card, first.card, "{}: what was placed stays", self.name);
        }
        if occasion == Occasion::Rebalance {
            let again = place(&self.grounds, &self.wanted, occasion);
            let moves =
                again.iter().filter(|one| one.rule != Rule::Stays && one.rule != Rule::Nowhere);
            assert_eq!(moves.count(), 0, "{}: a second time moves nothing", self.name);
        }
        match placements.len() {
            0..=LISTED_MAX => placements.iter().map(listed).collect(),
            _ => self.summary(&placements),
        }
    }

    fn summary(&self, placements: &[Placement]) -> String {
        let mut text = String::new();
        for card in self.grounds.iter().flat_map(|ground| &ground.cards) {
            writeln!(text, "{} carries {}", card.name, card.carries.len()).expect("a text");
        }
        let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
        for placement in placements {
            *rules.entry(word(placement.rule)).or_default() += 1;
        }
        for (rule, count) in rules {
            writeln!(text, "{count} by [{rule}]").expect("a text");
        }
        let last = placements.last().expect("there are many");
        text + "the last: " + &listed(last)
    }
}

fn listed(placement: &Placement) -> String {
    let Placement { address, card, rule, why, left, dropped, later } = placement;
    let left = left.as_ref().map_or_else(String::new, |left| format!("{left}; "));
    let card = card.as_deref().unwrap_or("nowhere");
    let mut text = format!("{address} {card} [{}] {left}{why}\n", word(*rule));
    for (what, said) in [("dropped", dropped), ("later", later)] {
        if let Some(said) = said {
            writeln!(text, "  {what}: {said}").expect("a text takes all");
        }
    }
    text
}

fn word(rule: Rule) -> &'static str {
    match rule {
        Rule::Stays => "stays",
        Rule::Only => "only",
        Rule::Preferred(distribution) => distribution.name(),
        Rule::First => "first",
        Rule::Nowhere => "nowhere",
    }
}

fn distribution(word: &str) -> Distribution {
    let named = Distribution::NAMED.iter().find(|(name, _)| *name == word);
    named.unwrap_or_else(|| panic!("no distribution {word}")).1
}

fn subnet_of(text: &str) -> (IpAddr, u8) {
    let (address, prefix) = text.split_once('/').unwrap_or_else(|| panic!("no subnet: {text}"));
    (ip(address), prefix.parse().expect("a prefix"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("no address: {text}"))
}
