//! Making a node of a machine: `init`, `join`, and `config check`.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use api::client::ClientError;
use api::v1;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use super::arguments::{DiscoverOptions, InitOptions, JoinOptions};
use super::{Context, Done, EXIT_DEGRADED, Failure, discover};
use crate::config::files::{self, Key};
use crate::config::{self, Diagnostics};
use crate::discover::report::Report;
use crate::join::client;
use crate::join::token::Token;
use crate::join::wire::{Ask, AskAddress};
use crate::node_check::{self, Question};

/// What `init` and `join` made, for `--json`.
#[derive(Serialize)]
struct Made {
    schema: u32,
    cluster: String,
    id: u32,
    node: String,
    configuration: String,
}

pub(super) fn init(context: &Context, options: &InitOptions) -> Done {
    let root = context.root()?;
    files::check_absent(root)?;
    let node = node_name(context, options.node_name.as_deref())?;
    if !options.network.is_empty() && options.network.len() != options.address.len() {
        return Err(Failure::usage(
            format!("{} --network for {} --address", options.network.len(), options.address.len()),
            "name each network, in the order of the addresses, or none",
        ));
    }
    let id = match options.id {
        Some(id) => id,
        None => random_id()?,
    };
    let found = match options.discover {
        true => Some(found(context, options, &node)?),
        false => None,
    };
    let text = configuration(options, &node, id, found.as_ref());
    let (cluster, _) = config::parse(&text, "the new configuration", 1).map_err(|found| {
        context.output.note(&found.render(context.output.has_error_colour()));
        Failure::usage("what was given makes no configuration", "see above")
    })?;
    files::create(root, &text, &Key::random()?, &node)?;
    let made = Made {
        schema: api::v1::SCHEMA,
        cluster: cluster.name,
        id,
        node,
        configuration: root.cluster().display().to_string(),
    };
    let option = root_option(context);
    let joins =
        found.as_ref().map_or_else(|| "  mainstay join TOKEN --address CIDR\n".to_owned(), joins);
    context.output.show(&made, |made, _| {
        format!(
            "cluster {} (id {}) is made, this is its node {}\n\nNext:\n  \
             mainstay{option} run            start this node (as a service: in a unit)\n  \
             mainstay{option} token          make a token, and on the next machine:\n  \
{joins}  \
             then add services to {} and: mainstay{option} config apply FILE\n",
            made.cluster, made.id, made.node, made.configuration
        )
    })?;
    Ok(0)
}

/// ` --root DIR` when it is not the machine's own.
fn root_option(context: &Context) -> String {
    match &context.root {
        Ok(root) if root.directory() != Path::new("/") => {
            format!(" --root {}", root.directory().display())
        }
        _ => String::new(),
    }
}

fn node_name(context: &Context, given: Option<&str>) -> Result<String, Failure> {
    match given {
        Some(name) => Ok(name.to_owned()),
        // No file is there yet, so this is the host name.
        None => Ok(files::read_node(context.root()?)?),
    }
}

/// A cluster id by lot, so that two clusters in one network rarely have the same. Five digits:
/// people read it.
fn random_id() -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::other("the kernel gives no random numbers"))?;
    Ok(10_000 + u32::from_be_bytes(bytes) % 90_000)
}

/// What is shared with others on the wire. Only those count who know what was entered.
fn found(context: &Context, options: &InitOptions, node: &str) -> Result<Report, Failure> {
    let discovery = DiscoverOptions {
        secret: options.secret.clone(),
        time: options.time.clone(),
        port: Some(options.port),
        node_name: Some(node.to_owned()),
    };
    let mut report = discover::survey(context, &discovery)?;
    report.networks.retain(|network| network.nodes.contains_key(node));
    if report.networks.is_empty() {
        context.output.note(&crate::render::discovery(&report, context.output.style()));
        return Err(Failure::usage(
            "no network was found that this machine shares with another one",
            "see above; run `mainstay discover` with the same --secret on the others meanwhile, or \
             name the own addresses with --address",
        ));
    }
    for finding in &report.findings {
        context.output.complain(&finding.text, Some(&finding.help));
    }
    Ok(report)
}

/// The commands by which the others that were found join.
fn joins(found: &Report) -> String {
    let mut text = String::new();
    for node in found.nodes.iter().filter(|node| node.name != found.node) {
        let ends = found.networks.iter().filter(|network| network.kind == "udp");
        let ends = ends.filter_map(|network| {
            let end = network.nodes.get(&node.name)?;
            Some(format!(" --address {}={end}", network.name))
        });
        let ends: String = ends.collect();
        if !ends.is_empty() {
            text += &format!("  mainstay join TOKEN --node-name {}{ends}\n", node.name);
        }
    }
    text
}

fn configuration(options: &InitOptions, node: &str, id: u32, found: Option<&Report>) -> String {
    let quoted = |text: &str| toml_edit::Value::from(text).to_string().trim().to_owned();
    let mut text = format!(
        "# The configuration of the cluster, the same on all nodes.\n\
         # Check it: mainstay config check FILE. Put it in force: mainstay config apply FILE\n\n\
         [cluster]\nname = {}\nid = {id}\ndetection = {}\n",
        quoted(&options.name),
        quoted(&options.detection)
    );
    if options.port != config::PORT_DEFAULT {
        text.push_str(&format!("port = {}\n", options.port));
    }
    text.push_str(&format!("\n[[node]]\nname = {}\nid = 1\n", quoted(node)));
    for (index, address) in options.address.iter().enumerate() {
        let default = format!("net{index}");
        let network = options.network.get(index).unwrap_or(&default);
        text.push_str(&format!(
            "\n[[network]]\nname = {}\nnodes = {{ {} = {} }}\n",
            quoted(network),
            toml_edit::Key::new(node),
            quoted(address)
        ));
    }
    for network in found.map_or(&[][..], |found| &found.networks) {
        let end = &network.nodes[node];
        text.push_str(&format!(
            "\n# {}\n[[network]]\nname = {}\n",
            network.why,
            quoted(&network.name)
        ));
        if network.kind != "udp" {
            text.push_str(&format!("kind = {}\n", quoted(&network.kind)));
        }
        text.push_str(&format!("nodes = {{ {} = {} }}\n", toml_edit::Key::new(node), quoted(end)));
    }
    text.push_str(
        "\n# A service: its resources are started in this order.\n\
         # [[service]]\n# name = \"web\"\n# nodes = [\"n1\", \"n2\"]\n\
         # [[service.resource]]\n# name = \"ip\"\n# kind = \"address\"\n\
         # address = \"10.77.0.100/24\"\n\
         # [[service.resource]]\n# name = \"server\"\n# kind = \"process\"\n\
         # command = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]\n",
    );
    text
}

pub(super) fn join(context: &Context, options: &JoinOptions) -> Done {
    let root = context.root()?;
    files::check_absent(root)?;
    let token = read_token(&options.token)?;
    let addresses = options.address.iter().map(|address| match address.split_once('=') {
        Some((network, address)) => {
            AskAddress { network: Some(network.into()), address: address.into() }
        }
        None => AskAddress { network: None, address: address.clone() },
    });
    let node = node_name(context, options.node_name.as_deref())?;
    let ask = Ask {
        node: node.clone(),
        addresses: addresses.collect(),
        program: env!("CARGO_PKG_VERSION").into(),
    };
    let joined = client::join(&token, &ask).map_err(|error| Failure::Other {
        message: error.message,
        help: error.help,
        exit: EXIT_DEGRADED,
    })?;
    let (cluster, _) =
        config::parse(&joined.text, "the cluster's configuration", 1).map_err(|found| {
            context.output.note(&found.render(context.output.has_error_colour()));
            Failure::other("the cluster's configuration is not one that this version understands")
        })?;
    files::create(root, &joined.text, &joined.key, &node)?;
    let made = Made {
        schema: api::v1::SCHEMA,
        cluster: cluster.name,
        id: cluster.id,
        node,
        configuration: root.cluster().display().to_string(),
    };
    let option = root_option(context);
    context.output.show(&made, |made, _| {
        format!(
            "this is now node {} (id {}) of cluster {}, let in by {}\n\nNext:\n  \
             mainstay{option} run\n",
            made.node, joined.node_id, made.cluster, joined.member
        )
    })?;
    Ok(0)
}

/// From the command line, or from standard input, where other users can not see it.
fn read_token(given: &str) -> Result<Token, Failure> {
    const TOKEN_SIZE_MAX: u64 = 4_096;
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        std::io::stdin()
            .take(TOKEN_SIZE_MAX)
            .read_to_string(&mut text)
            .map_err(|error| Failure::other(format!("can not read standard input: {error}")))?;
    }
    Token::parse(&text).map_err(|error| {
        Failure::usage(error.to_string(), "`mainstay token` on a member prints one")
    })
}

pub(super) fn check(context: &Context, file: Option<&Path>) -> Done {
    let root = context.root();
    let (path, whole_node) = match file {
        Some(file) => (file.to_owned(), false),
        None => (root?.cluster(), true),
    };
    let text = files::read_configuration(&path)?;
    let name = path.display().to_string();
    let parsed = config::parse(&text, &name, 0);
    let mut found: Diagnostics = match &parsed {
        Ok((_, found)) => found.clone(),
        Err(found) => (**found).clone(),
    };
    if let Ok((cluster, _)) = &parsed {
        for why in names_without_address(context, cluster)? {
            let place = node_check::place_of(&text, &why.name);
            let finding = match whole_node {
                true => found.error_at(place, why.message),
                // Another machine may have them.
                false => found.warning_at(place, why.message),
            };
            finding.help(why.help);
        }
    }
    if let Ok((cluster, _)) = &parsed {
        for mistake in crate::fence::check::check(cluster) {
            let place = node_check::place_of(&text, &mistake.agent);
            found.warning_at(place, mistake.message).help(mistake.help);
        }
    }
    if whole_node && let Ok((cluster, _)) = &parsed {
        let root = context.root()?;
        for error in [files::read_key(root).err(), files::local_node(root, cluster).err()]
            .into_iter()
            .flatten()
        {
            found.error_in_file(error.message).help(error.help);
        }
    }
    if let (Ok((cluster, _)), false) = (&parsed, found.has_errors()) {
        match file {
            Some(_) => check_nodes(context, cluster, &text, &mut found)?,
            None => check_node(context, cluster, &text, &mut found)?,
        }
    }
    if context.output.is_json() {
        context.output.json(&found.report())?;
    } else {
        context.output.note(&found.render(context.output.has_error_colour()));
        if let (Ok((cluster, _)), false) = (&parsed, found.has_errors()) {
            context.output.print(&format!(
                "{name} is usable: cluster {}, {}, {}, {}\n",
                cluster.name,
                counted(cluster.nodes.len(), "node"),
                counted(cluster.networks.len(), "network"),
                counted(cluster.services.len(), "service")
            ))?;
        }
    }
    Ok(if found.has_errors() { EXIT_DEGRADED } else { 0 })
}

/// What the nodes of the cluster say to a new configuration; where no daemon here can ask them, what this one says.
fn check_nodes(
    context: &Context,
    cluster: &config::Cluster,
    text: &str,
    found: &mut Diagnostics,
) -> Result<(), Failure> {
    let request = v1::ConfigureRequest { text: text.to_owned(), expected_version: None };
    let check: v1::ConfigCheck = match context.client()?.post("/v1/config/check", &request) {
        Ok(check) => check,
        Err(ClientError::Unreachable { .. }) => return check_node(context, cluster, text, found),
        Err(error) => {
            found
                .warning_at(None, format!("the other nodes were not asked: {error}"))
                .help("run it on each node, as root");
            return check_node(context, cluster, text, found);
        }
    };
    for diagnostic in &check.diagnostics {
        found.adopt(diagnostic);
    }
    for node in check.nodes {
        if let Some(trouble) = node.trouble {
            found
                .warning_at(None, format!("{} did not check it: {trouble}", node.node))
                .help("run `mainstay config check FILE` there as well");
        }
    }
    Ok(())
}

/// What only a node can say of the configuration; nothing where this machine is none of its nodes.
fn check_node(
    context: &Context,
    cluster: &config::Cluster,
    text: &str,
    found: &mut Diagnostics,
) -> Result<(), Failure> {
    let Ok(root) = context.root() else { return Ok(()) };
    let Ok(local) = files::local_node(root, cluster) else { return Ok(()) };
    let running = running(context)?;
    let mut question = Question::of(cluster, local, None);
    if let Some(running) = &running {
        let services = cluster.services.iter().filter(|service| running.contains(&service.name));
        let taken: BTreeSet<IpAddr> = services.flat_map(config::addresses_of).collect();
        question.addresses.retain(|address| !taken.contains(address));
    }
    let services = cluster.service_addresses().collect();
    let name = cluster.name_of(local);
    for fact in question.answer(&services) {
        node_check::warn(fact.words(cluster, &name, running.is_some()), text, found);
    }
    Ok(())
}

/// The services that run in the cluster; none when no daemon here says so.
fn running(context: &Context) -> Result<Option<BTreeSet<String>>, Failure> {
    let services: v1::Services = match context.client()?.get("/v1/services") {
        Ok(services) => services,
        // None runs here, or it is not for this user.
        Err(_) => return Ok(None),
    };
    let holds = |service: &v1::Service| service.node.is_some();
    Ok(Some(services.services.into_iter().filter(holds).map(|one| one.name).collect()))
}

/// Ends that are written as names which lead nowhere, by this node's hosts file.
pub(super) fn names_without_address(
    context: &Context,
    cluster: &config::Cluster,
) -> Result<Vec<config::hosts::NameError>, Failure> {
    let mut ends = cluster.networks.iter().flat_map(|network| network.endpoints.values());
    if !ends.any(|end| end.host.is_some()) {
        return Ok(Vec::new());
    }
    let hosts = config::hosts::Hosts::read(context.root()?)
        .map_err(|error| Failure::other(format!("can not read the hosts file: {error}")))?;
    Ok(hosts.resolve(&mut cluster.clone()))
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
