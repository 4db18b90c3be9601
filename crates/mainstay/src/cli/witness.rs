//! `mainstay witness`: the server that breaks ties, on a third machine, and what it needs.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use api::v1;
use serde::Serialize;

use super::arguments::WitnessCommand;
use super::{Context, Done, Failure};
use crate::arbiter::witness::files::{Directory, Entry, Seen};
use crate::arbiter::witness::server::{self, Witness};
use crate::arbiter::witness::wire::Key;
use crate::config::{self, files};

/// Bytes of a key as people paste it, and room for white space.
const KEY_TEXT_SIZE_MAX: u64 = 1_000;

pub(super) fn witness(context: &Context, command: &WitnessCommand) -> Done {
    match command {
        WitnessCommand::Serve { listen, place } => {
            serve(context, *listen, &directory(context, place)?)
        }
        WitnessCommand::Key => key(context),
        WitnessCommand::Add { name, id, place } => {
            add(context, name, *id, &directory(context, place)?)
        }
        WitnessCommand::Show { place } => show(context, &directory(context, place)?),
    }
}

fn directory(
    context: &Context,
    place: &super::arguments::WitnessPlace,
) -> Result<Directory, Failure> {
    Ok(match &place.dir {
        Some(directory) => Directory::new(directory),
        None => Directory::new(&context.root()?.directory().join("var/lib/mainstay-witness")),
    })
}

fn serve(context: &Context, listen: SocketAddr, directory: &Directory) -> Done {
    let witness = Witness::open(directory)?;
    let clusters = witness.clusters();
    let mut said = Ok(());
    server::serve(Arc::new(witness), listen, |address| {
        said = context.output.print(&format!(
            "witness for {clusters} clusters on {address}, memory in {}\n",
            directory.path().display()
        ));
    })?;
    said?;
    Ok(0)
}

/// Printed for a machine that is not in the cluster, so it goes with what that machine has to be told.
fn key(context: &Context) -> Done {
    let root = context.root()?;
    let text = files::read_cluster(root)?;
    let file = root.cluster().display().to_string();
    let Ok((cluster, _)) = config::parse(&text, &file, 0) else {
        return Err(Failure::other(format!("{file} has mistakes: `mainstay config check`")));
    };
    let key = Key::of_cluster(&files::read_key(root)?.0).text();
    if context.output.is_json() {
        context.output.json(&KeyReport {
            schema: v1::SCHEMA,
            cluster: &cluster.name,
            id: cluster.id,
            key: &key,
        })?;
        return Ok(0);
    }
    context.output.print(&format!("{key}\n"))?;
    context.output.note(&format!(
        "on the witness: mainstay witness add {} --id {}   (and paste this line)\n",
        cluster.name, cluster.id
    ));
    Ok(0)
}

#[derive(Serialize)]
struct KeyReport<'a> {
    schema: u32,
    cluster: &'a str,
    id: u32,
    key: &'a str,
}

fn add(context: &Context, name: &str, cluster: u32, directory: &Directory) -> Done {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(KEY_TEXT_SIZE_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::other(format!("can not read standard input: {error}")))?;
    let key = Key::parse(&text).ok_or_else(|| {
        Failure::usage(
            "standard input holds no key",
            "paste the line that `mainstay witness key` prints on a member",
        )
    })?;
    directory.add(&Entry { name: name.to_owned(), cluster, key })?;
    context.output.print(&format!("cluster {name} ({cluster}) is added\n"))?;
    Ok(0)
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    clusters: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    id: u32,
    last_asked: Option<Seen>,
}

fn show(context: &Context, directory: &Directory) -> Done {
    if !directory.path().join("clusters").is_dir() {
        return Err(Failure::Other {
            message: format!("there is no witness in {}", directory.path().display()),
            help: Some("name its directory with --dir; `mainstay witness add` makes one".into()),
            exit: super::EXIT_DEGRADED,
        });
    }
    let entries = directory.entries()?;
    let rows = entries.into_iter().map(|entry| Row {
        last_asked: directory.seen(&entry.name),
        name: entry.name,
        id: entry.cluster,
    });
    let clusters: Vec<Row> = rows.collect();
    if context.output.is_json() {
        context.output.json(&Report { schema: v1::SCHEMA, clusters })?;
        return Ok(0);
    }
    if clusters.is_empty() {
        context
            .output
            .print("no cluster is known here: mainstay witness add NAME --id NUMBER\n")?;
    }
    for Row { name, id, last_asked } in clusters {
        let asked = last_asked.map_or("nobody has asked yet".to_owned(), |seen| {
            let at = i64::try_from(seen.at_ms).ok().and_then(|at| {
                let moment = jiff::Timestamp::from_millisecond(at).ok()?;
                Some(moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
            });
            let about = if seen.election { "about an election" } else { "whether it is there" };
            let (node, address) = (seen.node, seen.address);
            format!("{node} ({address}) asked {about}, {}", at.unwrap_or_default())
        });
        context.output.print(&format!("{name} ({id}): {asked}\n"))?;
    }
    Ok(0)
}
