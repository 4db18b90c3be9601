//! The whole file: `[cluster]`, `[detection]`, `[[node]]`, and what must fit together.

use std::collections::BTreeMap;
use std::time::Duration;

use base::limits::NODES_MAX;
use base::{NodeId, Preset, Timing};
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostics;
use super::read::{self, Placed, Section, Span, Value};
use super::tie::{self, Tie};
use super::{
    Cluster, Node, PORT_DEFAULT, duration, fence, hook, network, placing, service, suggest,
    watchdog,
};

/// Bytes of a configuration: it is broadcast in one message, with the engine's form beside it.
pub const TEXT_SIZE_MAX: usize = 256 << 10;
const _: () = assert!(TEXT_SIZE_MAX * 2 < base::limits::PAYLOAD_SIZE_MAX);

/// Reads a configuration. `file` is what people know it as; `version` is the version that it is,
/// which does not stand in the text.
///
/// Gives the configuration with the warnings about it.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(
    text: &str,
    file: &str,
    version: u64,
) -> Result<(Cluster, Diagnostics), Box<Diagnostics>> {
    let mut found = Diagnostics::new(file, text);
    if text.len() > TEXT_SIZE_MAX {
        found.error_in_file(format!("the file is larger than {TEXT_SIZE_MAX} bytes"));
        return Err(Box::new(found));
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What a broken text means is guesswork, so the meaning is looked at when it is mended.
        for error in errors {
            match error.span() {
                Some(span) => found.error(span, error.message()),
                None => found.error_in_file(error.message()),
            };
        }
        return Err(Box::new(found));
    }
    let cluster = root(tree.get_ref(), tree.span(), &mut found);
    if found.has_errors() {
        return Err(Box::new(found));
    }
    let cluster =
        Cluster { text: text.to_owned(), version, checksum: super::checksum(text), ..cluster };
    Ok((cluster, found))
}

/// Names that other parts of the file refer to.
pub(super) struct Names<'a, T> {
    by_name: BTreeMap<&'a str, T>,
}

impl<'a, T: Copy + Ord> Names<'a, T> {
    /// What the name stands for; a finding when nothing has it.
    pub(super) fn find(
        &self,
        written: &Placed<&str>,
        what: &str,
        found: &mut Diagnostics,
    ) -> Option<T> {
        if let Some(meaning) = self.by_name.get(written.value) {
            return Some(*meaning);
        }
        let known: Vec<&str> = self.by_name.keys().copied().collect();
        let finding =
            found.error(written.span.clone(), format!("there is no {what} {}", written.value));
        match suggest::nearest(written.value, known.iter().copied()) {
            Some(near) => finding.help(format!("did you mean \"{near}\"?")),
            None if known.is_empty() => finding.help(format!("no {what} is configured")),
            None => finding.help(format!("there are: {}", known.join(", "))),
        };
        None
    }

    /// All names with their meanings, in order of meaning.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, T)> {
        let mut all: Vec<(&'a str, T)> =
            self.by_name.iter().map(|(name, meaning)| (*name, *meaning)).collect();
        all.sort_by_key(|(_, meaning)| *meaning);
        all.into_iter()
    }
}

/// Says so when the name was there before.
pub(super) fn duplicate<'a>(
    names: &mut BTreeMap<&'a str, Span>,
    written: &Placed<&'a str>,
    what: &str,
    found: &mut Diagnostics,
) {
    match names.get(written.value) {
        Some(first) => {
            found
                .error(written.span.clone(), format!("two {what} are called {}", written.value))
                .related(first.clone(), "first here");
        }
        None => {
            names.insert(written.value, written.span.clone());
        }
    }
}

fn root<'a>(tree: &'a DeTable<'a>, span: Span, found: &mut Diagnostics) -> Cluster {
    let mut root = Section::new("the file", tree, span.clone());
    let (nodes, by_name, own_watchdogs) = nodes(&mut root, found);
    let mut cluster = Cluster {
        name: String::new(),
        id: 0,
        timing: Preset::default().timing(),
        preset: Preset::default(),
        port: PORT_DEFAULT,
        seed: nodes.len(),
        tie: Tie::None,
        nodes,
        networks: Vec::new(),
        fence_policy: node::FencePolicy::default(),
        fence_verify: Some(fence::VERIFY_DEFAULT),
        jeopardy: None,
        hooks: Vec::new(),
        conflicts: Default::default(),
        fences: Vec::new(),
        watchdogs: BTreeMap::new(),
        services: Vec::new(),
        shared: BTreeMap::new(),
        text: String::new(),
        version: 0,
        checksum: 0,
    };
    let detection = root.take("detection");
    let tiebreaker = root.take("tiebreaker");
    // Warnings about the cluster as a whole point at its first line.
    let head = match root.take("cluster") {
        Some(value) => match read::table(value, "[cluster]", found) {
            Some(section) => {
                let head = section.span.clone();
                section_cluster(section, detection, tiebreaker, &by_name, &mut cluster, found);
                head
            }
            None => value.span(),
        },
        None => {
            found
                .error_in_file("there is no [cluster]")
                .help("begin with: [cluster], name = \"demo\", id = 10");
            0..0
        }
    };
    let mut claimed = Vec::new();
    let networks = root.tables("network", "a [[network]]", found);
    let paths = root.tables("path", "a [[path]]", found);
    cluster.networks = network::networks(networks, paths, &by_name, &mut claimed, found);
    let hooks = root.tables("hook", "a [[hook]]", found);
    cluster.hooks = hook::hooks(hooks, &cluster.networks, found);
    let fences = root.tables("fence", "a [[fence]]", found);
    cluster.fences = fence::fences(fences, &by_name, found);
    let shared_watchdog = root.take("watchdog");
    cluster.watchdogs =
        watchdog::watchdogs(shared_watchdog, own_watchdogs, &cluster.nodes, &cluster.timing, found);
    let services = root.tables("service", "a [[service]]", found);
    let mut seen =
        service::Seen { claimed, wishes: Vec::new(), services: 0, conflicts: Default::default() };
    cluster.services = service::services(services, &by_name, &cluster.networks, &mut seen, found);
    let service::Seen { claimed, wishes, conflicts, .. } = seen;
    cluster.conflicts = conflicts;
    cluster.shared = placing::shared(&cluster.networks, wishes, &by_name, found);
    super::global::check_aliases(&cluster.networks, &claimed, found);
    root.finish(found);
    if !found.has_errors() {
        network::check_paths(&cluster.networks, head.clone(), &by_name, found);
        network::check_slow(&cluster.networks, &cluster.timing, head.clone(), found);
        super::gateway::check(&cluster, head.clone(), found);
        tie::check(&cluster, head, found);
    }
    cluster
}

/// A node's own words about its watchdog.
type OwnWatchdog<'a> = (NodeId, &'a Value<'a>);

fn nodes<'a>(
    root: &mut Section<'a>,
    found: &mut Diagnostics,
) -> (Vec<Node>, Names<'a, NodeId>, Vec<OwnWatchdog<'a>>) {
    let mut watchdogs = Vec::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    let mut ids: BTreeMap<u64, Span> = BTreeMap::new();
    let mut by_name = BTreeMap::new();
    let sections = root.tables("node", "a [[node]]", found);
    if sections.is_empty() {
        found
            .error_in_file("there is no [[node]]")
            .help("name every machine: [[node]], name = \"n1\", id = 1");
    }
    for mut section in sections {
        section.require("name", "\"n1\"", found);
        let written = section.text("name", found);
        let name = written.as_ref().and_then(|written| {
            duplicate(&mut names, written, "nodes", found);
            read::name(written, "a node", found)
        });
        section.require("id", "1", found);
        let id = section.number("id", 0..=NODES_MAX as u64 - 1, found);
        if let Some(id) = &id {
            match ids.get(&id.value) {
                Some(first) => {
                    found
                        .error(id.span.clone(), format!("two nodes have the id {}", id.value))
                        .related(first.clone(), "first here");
                }
                None => {
                    ids.insert(id.value, id.span.clone());
                }
            }
        }
        let watchdog = section.take("watchdog");
        section.finish(found);
        // A node whose own lines are wrong is still known by its name, so that the places that
        // name it are not called wrong as well.
        let id = NodeId(id.map_or(0, |id| id.value as u8));
        if let Some(written) = written {
            by_name.insert(written.value, id);
        }
        watchdogs.extend(watchdog.map(|value| (id, value)));
        if let Some(name) = name {
            nodes.push(Node { id, name });
        }
    }
    nodes.sort_by_key(|node| node.id);
    (nodes, Names { by_name }, watchdogs)
}

fn section_cluster<'a>(
    mut section: Section<'a>,
    detection: Option<&'a Value<'a>>,
    tiebreaker: Option<&'a Value<'a>>,
    nodes: &Names<'a, NodeId>,
    cluster: &mut Cluster,
    found: &mut Diagnostics,
) {
    section.require("name", "\"demo\"", found);
    if let Some(written) = section.text("name", found)
        && let Some(name) = read::name(&written, "a cluster", found)
    {
        cluster.name = name;
    }
    section.require("id", "10", found);
    if let Some(id) = section.number("id", 1..=u64::from(u32::MAX), found) {
        cluster.id = id.value as u32;
    }
    if let Some(port) = section.number("port", 1..=u64::from(u16::MAX), found) {
        cluster.port = port.value as u16;
    }
    if let Some(seed) = section.number("seed", 1..=NODES_MAX as u64, found) {
        let count = cluster.nodes.len();
        cluster.seed = seed.value as usize;
        if cluster.seed > count {
            found
                .error(
                    seed.span,
                    format!("`seed` is {}, and the number of nodes is {count}", seed.value),
                )
                .help("as many nodes must be in contact to form the first view: at most all");
        } else if cluster.seed * 2 <= count {
            found
                .warning(seed.span, format!("{} of {count} nodes may form a view", seed.value))
                .label("not more than half")
                .help(
                    "nodes that start while they can not reach each other may form two clusters; \
                       use more than half, or leave `seed` out to wait for all",
                );
        }
    }
    if let Some(written) = section.text("fence", found) {
        let words = [("reboot", node::FencePolicy::Reboot), ("off", node::FencePolicy::Off)];
        let policy = read::choice(&written, "fence", &words, found);
        cluster.fence_policy = policy.unwrap_or_default();
    }
    if let Some(written) = section.text("fence_verify", found) {
        cluster.fence_verify = fence::verify_interval(&written, found);
    }
    if let Some(written) = section.text("jeopardy", found) {
        let words = [("takeover", engine::Jeopardy::Takeover), ("hold", engine::Jeopardy::Hold)];
        cluster.jeopardy = read::choice(&written, "jeopardy", &words, found);
    }
    match (section.take("detection"), detection) {
        (Some(inner), Some(outer)) => {
            found
                .error(outer.span(), "the times are given twice")
                .related(inner.span(), "first here");
        }
        (Some(value), None) | (None, Some(value)) => {
            (cluster.preset, cluster.timing) = timing(value, found);
        }
        (None, None) => {}
    }
    match (section.take("tie"), tiebreaker) {
        (Some(inner), Some(outer)) => {
            found
                .error(outer.span(), "the tie-breaker is given twice")
                .related(inner.span(), "first here");
        }
        (Some(value), None) => cluster.tie = tie::word(value, nodes, found).unwrap_or_default(),
        (None, Some(value)) => {
            cluster.tie = tie::tables(value, nodes, found).unwrap_or_default();
        }
        (None, None) => {}
    }
    section.finish(found);
}

/// `detection = "fast"`, or a table with a preset and overrides.
fn timing(value: &Value<'_>, found: &mut Diagnostics) -> (Preset, Timing) {
    let words: Vec<(&str, Preset)> =
        Preset::ALL.into_iter().map(|preset| (preset.name(), preset)).collect();
    let default = (Preset::default(), Preset::default().timing());
    if let DeValue::String(_) = value.get_ref() {
        let Some(written) = read::text(value, "detection", found) else { return default };
        let preset = read::choice(&written, "detection", &words, found).unwrap_or_default();
        return (preset, preset.timing());
    }
    let Some(mut section) = read::table(value, "`detection`", found) else { return default };
    let preset = section
        .text("preset", found)
        .and_then(|written| read::choice(&written, "preset", &words, found))
        .unwrap_or_default();
    let mut timing = preset.timing();
    let fields: [(&'static str, &mut Duration); 15] = [
        ("heartbeat_high", &mut timing.heartbeat_high),
        ("heartbeat_low", &mut timing.heartbeat_low),
        ("trouble_high", &mut timing.trouble_high),
        ("trouble_low", &mut timing.trouble_low),
        ("path_timeout", &mut timing.path_timeout),
        ("collect", &mut timing.collect),
        ("stall", &mut timing.stall),
        ("lease", &mut timing.lease),
        ("release", &mut timing.release),
        ("tie_budget", &mut timing.tie_budget),
        ("tie_handicap", &mut timing.tie_handicap),
        ("hold", &mut timing.hold),
        ("start_wait", &mut timing.start_wait),
        ("disk_timeout", &mut timing.disk_timeout),
        ("serial_timeout", &mut timing.serial_timeout),
    ];
    let limits = Duration::from_millis(1)..=Duration::from_secs(3600);
    let mut changed = false;
    let mut has_handicap = false;
    for (key, field) in fields {
        if let Some(written) = section.duration(key, limits.clone(), found) {
            *field = written.value;
            changed = true;
            has_handicap |= key == "tie_handicap";
        }
    }
    if !has_handicap {
        timing.tie_handicap = timing.tie_budget;
    }
    if changed && let Err(error) = timing.check() {
        found
            .error(value.span(), format!("{} does not hold", error.rule))
            .label(format!(
                "{} on the left, at least {} needed",
                duration::format(error.left),
                duration::format(error.right)
            ))
            .help(format!(
                "what is not given here comes from preset \"{}\"; `mainstay bound` shows all times",
                preset.name()
            ));
    }
    section.finish(found);
    (preset, timing)
}
