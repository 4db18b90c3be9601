//! `mainstay reservation`: persistent reservations of a shared disk, by hand. Needs no daemon.

use std::path::{Path, PathBuf};

use api::v1;
use clap::{Args, Subcommand, ValueEnum};
use os::reservation::{Disk, Key, Kind};

use super::{Context, Done, Failure, ask};
use crate::config::{self, files};
use crate::render;

#[derive(Debug, Subcommand)]
pub(super) enum ReservationCommand {
    /// Show the keys that are registered with a disk, and whose the reservation is
    Show {
        /// The disk
        device: PathBuf,
    },
    /// Register this node's key
    Register(KeyOptions),
    /// Register this node's key and reserve the disk for those that are registered
    Reserve(ReserveOptions),
    /// Register this node's key, take another one's away, with the reservation and all that it has on
    /// its way
    Preempt {
        #[command(flatten)]
        reserve: ReserveOptions,
        /// Whose key is taken away: a node of the configuration, or the key itself
        #[arg(long, value_name = "NODE|KEY")]
        from: String,
    },
    /// Give the reservation up, and this node's registration
    Release(ReserveOptions),
    /// Take away all registrations and the reservation, whosever they are
    Clear {
        #[command(flatten)]
        key: KeyOptions,
        /// The disk once more, instead of being asked for it
        #[arg(long, value_name = "DEVICE")]
        confirm: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct KeyOptions {
    /// The disk
    device: PathBuf,
    /// The key in hexadecimal [default: this node's, from cluster and node id]
    #[arg(long)]
    key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReserveOptions {
    #[command(flatten)]
    key: KeyOptions,
    /// What those may do that are not registered
    #[arg(long, value_enum, default_value_t = Access::WriteExclusive)]
    kind: Access,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Access {
    /// Read
    WriteExclusive,
    /// Nothing
    ExclusiveAccess,
}

impl Access {
    fn kind(self) -> Kind {
        match self {
            Access::WriteExclusive => Kind::WriteExclusive,
            Access::ExclusiveAccess => Kind::ExclusiveAccess,
        }
    }
}

pub(super) fn reservation(context: &Context, command: ReservationCommand) -> Done {
    match command {
        ReservationCommand::Show { device } => {
            let state = open(&device)?.state().map_err(failed)?;
            let cluster = cluster(context);
            let shown = |key: Key| render::ReservationKey {
                key: key.to_string(),
                node: owner(cluster.as_ref(), key),
                unused: key.is_parked(),
            };
            let report = render::Reservation {
                schema: v1::SCHEMA,
                device: device.display().to_string(),
                keys: state.keys.iter().map(|key| shown(*key)).collect(),
                holder: state.held.map(|(key, _)| shown(key)),
                kind: state.held.map(|(_, kind)| kind.name()),
            };
            context.output.show(&report, render::reservation)?;
            Ok(0)
        }
        ReservationCommand::Register(options) => {
            let key = own_key(context, &options)?;
            open(&options.device)?.register(key).map_err(failed)?;
            said(context, &format!("{key} is registered with {}", options.device.display()))
        }
        ReservationCommand::Reserve(options) => {
            let key = own_key(context, &options.key)?;
            let disk = open(&options.key.device)?;
            disk.register(key)
                .and_then(|()| disk.reserve(key, options.kind.kind()))
                .map_err(failed)?;
            said(context, &format!("{key} has reserved {}", options.key.device.display()))
        }
        ReservationCommand::Preempt { reserve, from } => {
            let key = own_key(context, &reserve.key)?;
            let other = named(context, &from)?;
            if other == key {
                let help = "name the node that had the disk before";
                return Err(Failure::usage(format!("{from} has the same key as this node"), help));
            }
            let disk = open(&reserve.key.device)?;
            disk.register(key).map_err(failed)?;
            disk.preempt(key, other, reserve.kind.kind()).map_err(failed)?;
            let device = reserve.key.device.display();
            said(context, &format!("{key} has taken {device} from {other}, whose writes fail now"))
        }
        ReservationCommand::Release(options) => {
            let key = own_key(context, &options.key)?;
            let disk = open(&options.key.device)?;
            disk.release(key, options.kind.kind())
                .and_then(|()| disk.unregister(key))
                .map_err(failed)?;
            said(context, &format!("{key} has given up {}", options.key.device.display()))
        }
        ReservationCommand::Clear { key, confirm } => {
            confirmed(&key.device, confirm.as_deref())?;
            let own = own_key(context, &key)?;
            let disk = open(&key.device)?;
            disk.register(own).and_then(|()| disk.clear(own)).map_err(failed)?;
            said(context, &format!("nobody is registered with {} any more", key.device.display()))
        }
    }
}

fn said(context: &Context, sentence: &str) -> Done {
    if context.output.is_json() {
        context.output.json(&serde_json::json!({ "schema": v1::SCHEMA, "done": sentence }))?;
    } else {
        context.output.print(&format!("{sentence}\n"))?;
    }
    Ok(0)
}

fn open(device: &Path) -> Result<Disk, Failure> {
    Disk::open(device).map_err(|error| Failure::other(format!("{}: {error}", device.display())))
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn failed(error: std::io::Error) -> Failure {
    Failure::other(error.to_string())
}

fn cluster(context: &Context) -> Option<config::Cluster> {
    let text = files::read_cluster(context.root().ok()?).ok()?;
    config::parse(&text, "cluster.toml", 0).ok().map(|(cluster, _)| cluster)
}

fn own_key(context: &Context, options: &KeyOptions) -> Result<Key, Failure> {
    if let Some(written) = &options.key {
        return key(written);
    }
    let root = context.root()?;
    let help = "on a machine without a configuration name the key: --key 0x2a";
    let cluster = cluster(context).ok_or_else(|| {
        Failure::usage("this machine has no usable configuration, so it has no key", help)
    })?;
    let local = files::local_node(root, &cluster)?;
    Ok(Key::of_node(cluster.id, local.0))
}

/// A node's key, or the key itself.
fn named(context: &Context, written: &str) -> Result<Key, Failure> {
    let cluster = cluster(context);
    let node = cluster.as_ref().and_then(|cluster| {
        let node = cluster.nodes.iter().find(|node| node.name == written)?;
        Some(Key::of_node(cluster.id, node.id.0))
    });
    node.map_or_else(|| key(written), Ok)
}

fn key(written: &str) -> Result<Key, Failure> {
    let digits = written.strip_prefix("0x").unwrap_or(written);
    let number = u64::from_str_radix(digits, 16).ok();
    number.and_then(Key::new).ok_or_else(|| {
        Failure::usage(
            format!("\"{written}\" is neither a node nor a key"),
            "a key has 1 to 16 hexadecimal digits and is not zero",
        )
    })
}

/// Whose key it is, as far as that can be told from it.
fn owner(cluster: Option<&config::Cluster>, key: Key) -> Option<String> {
    let (id, node) = key.node()?;
    let ours = cluster.filter(|cluster| cluster.id == id);
    Some(match ours {
        Some(cluster) => cluster.name_of(base::NodeId(node)),
        None => format!("node {node} of cluster {id}"),
    })
}

fn confirmed(device: &Path, given: Option<&Path>) -> Result<(), Failure> {
    let shown = device.display().to_string();
    let given = given.map(|given| given.display().to_string());
    let consequence = format!("whoever has {shown} now loses it, and others may write to it");
    let command = format!("mainstay reservation clear {shown}");
    ask::name_again(&shown, given.as_deref(), &consequence, &command)
}
