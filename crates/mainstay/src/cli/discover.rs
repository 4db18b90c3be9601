//! `mainstay discover`, and what `init --discover` takes from it.

use std::io::Read;
use std::time::Duration;

use super::arguments::DiscoverOptions;
use super::{Context, Done, EXIT_DEGRADED, Failure};
use crate::config::hosts::Hosts;
use crate::config::{self, PORT_DEFAULT, duration, files};
use crate::discover::report::{Report, report};
use crate::discover::run::{self, Options};
use crate::discover::survey::Own;
use crate::discover::wire::{SECRET_SIZE_MIN, Secret};
use crate::render;

/// The longest that a discovery lasts.
const TIME_MAX: Duration = Duration::from_secs(3_600);

pub(super) fn discover(context: &Context, options: &DiscoverOptions) -> Done {
    let report = survey(context, options)?;
    context.output.show(&report, render::discovery)?;
    let is_well = !report.networks.is_empty() && report.findings.is_empty();
    Ok(if is_well { 0 } else { EXIT_DEGRADED })
}

/// Discovers for as long as was asked.
pub(super) fn survey(context: &Context, options: &DiscoverOptions) -> Result<Report, Failure> {
    let root = context.root()?;
    let time = duration::parse(&options.time)
        .map_err(|sentence| Failure::usage(sentence, "for instance --time 6s"))?;
    if time > TIME_MAX || time < Duration::from_secs(2) {
        return Err(Failure::usage("a discovery lasts 2 s to 1 h", "for instance --time 6s"));
    }
    let name = match &options.node_name {
        Some(name) => name.clone(),
        None => files::read_node(root)?,
    };
    let cluster = files::read_cluster(root).ok().and_then(|text| {
        let parsed = config::parse(&text, "cluster.toml", 0);
        parsed.ok().map(|(cluster, _)| cluster)
    });
    let secret = secret(context, options)?;
    let mut machine = [0; 8];
    os::clock::random(&mut machine);
    let hosts = Hosts::read(root).unwrap_or_default();
    let looped = hosts.all(&name).first().copied().filter(std::net::IpAddr::is_loopback);
    let own = Own {
        machine: u64::from_be_bytes(machine),
        name,
        // A stranger is told names and interfaces, and no more.
        cluster: cluster.as_ref().filter(|_| secret.is_some()).map(|one| one.name.clone()),
        looped_name: looped,
    };
    let port = options.port.or(cluster.map(|one| one.port)).unwrap_or(PORT_DEFAULT);
    let daemon = root.socket();
    let authenticated = secret.is_some();
    if !authenticated {
        context.output.note(
            "nothing was entered: what others say is shown and not believed (--secret, the same \
             on all machines, or a token)\n",
        );
    }
    let mut before = usize::MAX;
    let progress = |left: Duration, machines: usize| {
        let seconds = left.as_millis().div_ceil(1_000);
        if machines != before || seconds.is_multiple_of(5) {
            before = machines;
            context.output.note(&format!("listening for {seconds} s more, heard: {machines}\n"));
        }
    };
    let survey =
        run::survey(Options { own, secret, time, port, daemon }, progress).map_err(|error| {
            Failure::Other {
                message: format!("can not discover: {error}"),
                help: Some("run it as root: raw frames need CAP_NET_RAW".into()),
                exit: EXIT_DEGRADED,
            }
        })?;
    Ok(report(&survey, authenticated))
}

/// What was entered; without anything the cluster's key, if there is one and it can be read.
fn secret(context: &Context, options: &DiscoverOptions) -> Result<Option<Secret>, Failure> {
    const SIZE_MAX: u64 = 4_096;
    let Some(given) = &options.secret else {
        let key = files::read_key(context.root()?).ok();
        return Ok(key.map(|key| Secret::of_cluster(&key.0)));
    };
    let mut words = given.clone();
    if given == "-" {
        words.clear();
        let read = std::io::stdin().take(SIZE_MAX).read_to_string(&mut words);
        read.map_err(|error| Failure::other(format!("can not read standard input: {error}")))?;
    }
    match Secret::of_words(&words) {
        Some(secret) => Ok(Some(secret)),
        None => Err(Failure::usage(
            format!("what is entered has less than {SECRET_SIZE_MIN} bytes, and could be guessed"),
            "enter the same long random words on all machines, or a token of the cluster",
        )),
    }
}
