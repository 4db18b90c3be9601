//! Events and reasons.

use api::v1::{Address, AddressGateway, Event, EventLevel, Events, Note, Notes};

use super::style::{Colour, Style};

/// `mainstay history`.
#[must_use]
pub fn events(events: &Events, style: Style) -> String {
    let mut text = String::new();
    if events.forgotten > 0 {
        text.push_str(&format!("{} older events are no longer there\n", events.forgotten));
    }
    if events.events.is_empty() {
        text.push_str("nothing has happened yet\n");
    }
    for each in &events.events {
        text.push_str(&event(each, style));
    }
    text
}

/// One event in a line.
#[must_use]
pub fn event(event: &Event, style: Style) -> String {
    let colour = match event.level {
        EventLevel::Info => Colour::Plain,
        EventLevel::Warning | EventLevel::Unknown => Colour::Odd,
        EventLevel::Error => Colour::Bad,
    };
    let code = style.paint(colour, &event.code);
    let at = style.paint(Colour::Faint, &event.at);
    let node = if event.node.is_empty() { "-" } else { &event.node };
    let service = match &event.service {
        Some(name) if !says(&event.text, name) => format!("{name}: "),
        _ => String::new(),
    };
    format!("{at}  {node}  {code}  {service}{}\n", event.text)
}

/// A time of the wall clock (milliseconds since 1970), for people.
pub(crate) fn stamp(millis: u64) -> String {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(stamp) => format!("{stamp:.0}"),
        Err(_) => String::from("?"),
    }
}

/// Whether a sentence has this word.
fn says(sentence: &str, word: &str) -> bool {
    let separates = |character: char| !(character.is_alphanumeric() || "-_.".contains(character));
    sentence.split(separates).any(|part| part.trim_end_matches('.') == word)
}

/// `mainstay why`.
#[must_use]
pub fn notes(notes: &Notes, style: Style) -> String {
    let places: String = notes.addresses.iter().map(|one| place(one, style)).collect();
    if notes.notes.is_empty() {
        let none = match &notes.service {
            Some(service) => format!("nothing was decided about {service} yet\n"),
            None => "nothing was decided yet\n".into(),
        };
        return none + &places;
    }
    notes.notes.iter().map(|each| note(each, style)).collect::<String>() + &places
}

/// Where an address is on this node, and why there.
fn place(one: &Address, style: Style) -> String {
    let on = match &one.interface {
        Some(interface) => format!("{} is on {interface} here", one.address),
        None => format!("{} is on no interface here", one.address),
    };
    let mut text = format!("{}\n", style.paint(Colour::Head, &on));
    let reasons = [("because  ", Some(&one.why)), ("in vain  ", one.dropped.as_ref())];
    for (word, sentence) in reasons.into_iter().chain([("later    ", one.later.as_ref())]) {
        if let Some(sentence) = sentence.filter(|sentence| !sentence.is_empty()) {
            text.push_str(&format!("    {}{sentence}\n", style.paint(Colour::Faint, word)));
        }
    }
    for AddressGateway { gateway, state, took_ms, why } in &one.gateways {
        let known = match (state.as_str(), took_ms, why) {
            ("learned", Some(took), _) => format!("{gateway} has learned it after {took} ms"),
            ("not-learned", ..) => format!("{gateway} has not learned it"),
            ("asked", ..) => format!("{gateway} is being asked whether it has learned it"),
            (_, _, Some(why)) => format!("{gateway} cannot be told: {why}"),
            (other, ..) => format!("{gateway}: {other}"),
        };
        text.push_str(&format!("    {}{known}\n", style.paint(Colour::Faint, "gateway  ")));
    }
    text
}

fn note(note: &Note, style: Style) -> String {
    // Most sentences name what they are about.
    let names = [&note.service, &note.node];
    let unnamed = names.into_iter().flatten().filter(|name| !says(&note.what, name));
    let unnamed: Vec<&str> = unnamed.map(String::as_str).collect();
    let about =
        if unnamed.is_empty() { String::new() } else { format!("{}: ", unnamed.join(" on ")) };
    let what = style.paint(Colour::Head, &note.what);
    let place = match note.position {
        0 => String::new(),
        position => format!(", position {position}"),
    };
    let mut text = format!("#{} {}{place}\n    {about}{what}\n", note.id, note.at);
    let mut line = |word: &str, sentence: &str| {
        if !sentence.is_empty() {
            let word = style.paint(Colour::Faint, word);
            text.push_str(&format!("    {word}{sentence}\n"));
        }
    };
    // A note may be its own cause in words: then only the number of the one before says more.
    let cause = if note.cause == note.what { "" } else { note.cause.as_str() };
    match note.cause_id {
        Some(id) if cause.is_empty() => line("because  ", &format!("of #{id}")),
        Some(id) => line("because  ", &format!("{cause} (#{id})")),
        None => line("because  ", cause),
    }
    line("rule     ", &note.rule);
    for rejected in &note.rejected {
        line("not      ", &format!("{}: {}", rejected.what, rejected.why));
    }
    line("result   ", note.result.as_deref().unwrap_or(""));
    text
}
