//! `[[hook]]`: programs of the administrator that are run before and after events of networks.
//!
//! `before` is for what this program decides to do itself, and waits for the hook. Everything else has
//! happened by the time that a node learns of it, and nothing that frees a service ever waits: a hook that
//! could stand between a lease that ends and the release of what it covers would be a way to run twice.

use std::collections::BTreeMap;
use std::time::Duration;

use node::EventKind;
use toml::de::DeValue;

use super::diagnostic::Diagnostics;
use super::read::{self, Placed, Section, Span};
use super::section::duplicate;
use super::{Cluster, Kind, Network, duration, service, suggest};

/// Hooks of one configuration. After an event each runs once at a time, before switches once for each network.
const HOOKS_MAX: usize = 16;
/// How long a hook may take unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// How long a switch waits for all its hooks together: as long, nobody reaches the addresses.
const BEFORE_MAX: Duration = Duration::from_secs(30);
/// What killing and reaping may take besides.
const BEFORE_SLACK: Duration = Duration::from_secs(1);

/// The events that can have hooks.
const EVENTS: [EventKind; 5] = [
    EventKind::SwapAdapter,
    EventKind::JoinStandby,
    EventKind::FailStandby,
    EventKind::NetworkDown,
    EventKind::NetworkUp,
];

/// When a hook is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Before it is done, which waits for the hook.
    Before,
    /// After it was done, or has happened.
    #[default]
    After,
}

impl When {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            When::Before => "before",
            When::After => "after",
        }
    }
}

/// A program that is run at events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// At which events.
    pub events: Vec<EventKind>,
    /// Before or after them.
    pub when: When,
    /// Of which networks only; of all when there is none.
    pub networks: Vec<String>,
    /// The program, by its whole path, and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Hook {
    /// Whether it is run then.
    #[must_use]
    pub fn is_for(&self, event: EventKind, when: When, network: &str) -> bool {
        let is_there = self.networks.is_empty() || self.networks.iter().any(|name| name == network);
        self.when == when && self.events.contains(&event) && is_there
    }
}

impl Cluster {
    /// The hooks of an event, in the file's order.
    pub fn hooks_of<'a>(
        &'a self,
        event: EventKind,
        when: When,
        network: &'a str,
    ) -> impl Iterator<Item = &'a Hook> {
        self.hooks.iter().filter(move |hook| hook.is_for(event, when, network))
    }

    /// How long a switch between interfaces waits for its hooks at most; none: it does not.
    #[must_use]
    pub fn switch_waits(&self, network: &str) -> Option<Duration> {
        let sum = before(&self.hooks, network);
        (!sum.is_zero()).then(|| sum + BEFORE_SLACK)
    }
}

/// What the hooks before a switch in a network may take, one after the other.
fn before(hooks: &[Hook], network: &str) -> Duration {
    let is_before = |hook: &&Hook| hook.is_for(EventKind::SwapAdapter, When::Before, network);
    hooks.iter().filter(is_before).map(|hook| hook.timeout).sum()
}

/// Reads all of them.
pub(super) fn hooks<'a>(
    sections: Vec<Section<'a>>,
    networks: &[Network],
    found: &mut Diagnostics,
) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = Vec::new();
    let mut names: BTreeMap<&'a str, Span> = BTreeMap::new();
    let mut is_too_long = false;
    for (index, section) in sections.into_iter().enumerate() {
        let span = section.span.clone();
        if index == HOOKS_MAX {
            found
                .error(span, format!("there are more than {HOOKS_MAX} hooks"))
                .help("have one program do more: it is told the event, and when");
            break;
        }
        let Some(hook) = hook(section, &mut names, networks, found) else { continue };
        hooks.push(hook);
        let sums = networks.iter().map(|network| (before(&hooks, &network.name), network));
        let longest = sums.max_by_key(|(sum, _)| *sum);
        if let Some((sum, network)) = longest.filter(|(sum, _)| *sum > BEFORE_MAX && !is_too_long) {
            is_too_long = true;
            found
                .error(
                    span,
                    format!(
                        "the hooks before swap_adapter of {} may take {} together",
                        network.name,
                        duration::format(sum)
                    ),
                )
                .label(format!("at most {}", duration::format(BEFORE_MAX)))
                .help("nobody reaches the addresses meanwhile: give them a shorter `timeout`, or run them after it");
        }
    }
    hooks
}

fn hook<'a>(
    mut section: Section<'a>,
    names: &mut BTreeMap<&'a str, Span>,
    networks: &[Network],
    found: &mut Diagnostics,
) -> Option<Hook> {
    section.require("name", "\"tell-switches\"", found);
    let name = section.text("name", found).and_then(|written| {
        duplicate(names, &written, "hooks", found);
        read::name(&written, "a hook", found)
    });
    let events = events(&mut section, found);
    let when = section.text("when", found).and_then(|written| {
        let words = [When::Before, When::After].map(|when| (when.name(), when));
        read::choice(&written, "when", &words, found)
    });
    let when = when.unwrap_or_default();
    if when == When::Before {
        events.iter().for_each(|event| check_before(event, found));
    }
    let only = only(&mut section, networks, found);
    let command = service::command(&mut section, "[\"/usr/local/bin/tell\", \"switch\"]", found);
    let command = command.and_then(|words| whole(words, found));
    let limits = TIMEOUT_MIN..=match when {
        When::Before => BEFORE_MAX,
        When::After => TIMEOUT_MAX,
    };
    let timeout = section.duration("timeout", limits, found);
    let timeout = timeout.map_or(TIMEOUT_DEFAULT, |timeout| timeout.value);
    section.finish(found);
    let hook = Hook {
        name: name?,
        events: events.iter().map(|event| event.value).collect(),
        when,
        networks: only,
        command: command?,
        timeout,
    };
    check_standbys(&hook, &events, networks, found);
    Some(hook)
}

/// `event`: one, or a list.
fn events(section: &mut Section<'_>, found: &mut Diagnostics) -> Vec<Placed<EventKind>> {
    let Some(value) = section.require("event", "\"swap_adapter\"", found) else {
        return Vec::new();
    };
    let written = match value.get_ref() {
        DeValue::String(_) => read::text(value, "event", found).map(|one| vec![one]),
        _ => read::texts(value, "event", found),
    };
    let Some(written) = written else { return Vec::new() };
    if written.is_empty() {
        found
            .error(value.span(), "the hook is run at no event")
            .help(format!("name one or more of: {}", EVENTS.map(EventKind::name).join(", ")));
    }
    let words = EVENTS.map(|event| (event.name(), event));
    let mut events: Vec<Placed<EventKind>> = Vec::new();
    for word in written {
        let Some(event) = read::choice(&word, "event", &words, found) else { continue };
        if events.iter().any(|before| before.value == event) {
            found.error(word.span, format!("{} is named twice", word.value));
        } else {
            events.push(Placed { value: event, span: word.span });
        }
    }
    events
}

/// What has happened has nothing before it.
fn check_before(event: &Placed<EventKind>, found: &mut Diagnostics) {
    if event.value != EventKind::SwapAdapter {
        found
            .error(
                event.span.clone(),
                format!("no hook can be run before {}", event.value.name()),
            )
            .label("it has happened when a node learns of it")
            .help("write when = \"after\"; only swap_adapter is decided by the node itself, and can wait");
    }
}

/// `networks`: those whose events it is run at.
fn only(section: &mut Section<'_>, networks: &[Network], found: &mut Diagnostics) -> Vec<String> {
    let Some(value) = section.take("networks") else { return Vec::new() };
    let Some(written) = read::texts(value, "networks", found) else { return Vec::new() };
    if written.is_empty() {
        found
            .error(value.span(), "the hook is run at the events of no network")
            .help("leave `networks` out for all of them");
    }
    let mut only: Vec<String> = Vec::new();
    for word in written {
        let is_it = |network: &&Network| {
            network.name == word.value || network.written().any(|(name, _)| name == word.value)
        };
        let Some(network) = networks.iter().find(is_it) else {
            let finding = found.error(word.span, format!("there is no network {}", word.value));
            let names = || networks.iter().flat_map(|network| network.written());
            match suggest::nearest(word.value, names().map(|(name, _)| name)) {
                Some(near) => finding.help(format!("did you mean \"{near}\"?")),
                None => finding.help("name a [[network]], or leave `networks` out for all of them"),
            };
            continue;
        };
        if let Kind::Disk | Kind::Serial { .. } = network.kind {
            found
                .error(
                    word.span,
                    format!("{} has no interfaces, and none of these events", word.value),
                )
                .help("name a network of kind \"udp\" or \"ethernet\"");
        } else if only.contains(&network.name) {
            found.error(word.span, format!("{} is named twice", word.value));
        } else {
            only.push(network.name.clone());
        }
    }
    only
}

/// The program stands by its whole path: a hook has no shell, and is the same one whoever starts the daemon.
fn whole(words: Vec<Placed<&str>>, found: &mut Diagnostics) -> Option<Vec<String>> {
    let program = words.first().expect("a command is not empty");
    if !program.value.starts_with('/') || program.value.ends_with('/') {
        found
            .error(program.span.clone(), format!("\"{}\" is not the whole path of a program", program.value))
            .help("there is no shell and no search path: write where it stands, as [\"/usr/local/bin/tell\", \"switch\"]");
        return None;
    }
    Some(words.into_iter().map(|word| word.value.to_owned()).collect())
}

/// Says so when an event never happens, because it is about standby interfaces.
fn check_standbys(
    hook: &Hook,
    events: &[Placed<EventKind>],
    networks: &[Network],
    found: &mut Diagnostics,
) {
    let meant = networks.iter().filter(|network| match network.kind {
        Kind::Udp | Kind::Ethernet { .. } => {
            hook.networks.is_empty() || hook.networks.contains(&network.name)
        }
        Kind::Disk | Kind::Serial { .. } => false,
    });
    let has_standby = meant
        .clone()
        .any(|network| network.endpoints.values().any(|endpoint| endpoint.standby.is_some()));
    if has_standby {
        return;
    }
    for event in events {
        if matches!(event.value, EventKind::NetworkDown | EventKind::NetworkUp) {
            continue;
        }
        let names: Vec<&str> = meant.clone().map(|network| network.name.as_str()).collect();
        found
            .warning(event.span.clone(), format!("{} never happens here", event.value.name()))
            .label(format!("no standby interface in {}", names.join(", ")))
            .help("`standby` of a node's interface in a [[network]] names those that take over");
    }
}
