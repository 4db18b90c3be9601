//! Paths that this node alone defines: created and deleted while it runs.
//!
//! Only this node's half is touched, whoever is in a view or not. Until the other node has its half
//! the path is dead.

use std::net::IpAddr;

use api::v1::{self, ErrorCode};
use base::limits::PATHS_PER_PEER_MAX;
use node::Input;

use super::convert;
use super::disk::{self, Write};
use super::drive::Daemon;
use crate::config::own::{self, Over, OwnPath, RANK_MAX};
use crate::serve::Reply;

type Result<T> = core::result::Result<T, v1::Error>;

impl Daemon {
    pub(super) fn create_path(&mut self, request: &v1::PathRequest) -> Result<Reply> {
        let mut path = self.own_path(request)?;
        let name = path.name();
        let local = self.node.local().node;
        let refused = |message: String| v1::Error::new(ErrorCode::Refused, message);
        let network = path.network(&self.cluster, local).map_err(|why| {
            let names: Vec<&str> = (self.cluster.nodes.iter())
                .filter(|node| node.id != local)
                .map(|node| node.name.as_str())
                .collect();
            v1::Error::new(ErrorCode::NotFound, why)
                .help(format!("the other nodes are {}", names.join(", ")))
        })?;
        if self.own.iter().any(|other| other.peer == path.peer && other.name() == name) {
            let message = format!("this node has the path {name} to {} already", path.peer);
            return Err(v1::Error::new(ErrorCode::Conflict, message)
                .help("`mainstay path list` shows all paths"));
        }
        if let Some(other) = self.cluster.network(network.id) {
            // Two pairs of addresses in 32,768 share a number.
            return Err(refused(format!(
                "the path {name} would have the number of {}: use another address or port",
                other.name
            )));
        }
        let peer = self.cluster.node(&path.peer).expect("it has a network");
        let both = |network: &&crate::config::Network| {
            network.nodes().contains(local) && network.nodes().contains(peer)
        };
        if self.cluster.networks.iter().filter(both).count() >= PATHS_PER_PEER_MAX {
            let message = format!("there are {PATHS_PER_PEER_MAX} paths to {} already", path.peer);
            return Err(refused(message).help("delete one first: `mainstay path delete`"));
        }
        let ranks = self.own.iter().filter(|other| other.peer == path.peer);
        let last = ranks.map(|other| other.rank).max().unwrap_or(0);
        path.rank = request.rank.unwrap_or(last.saturating_add(1)).clamp(1, RANK_MAX);
        let sentence = format!(
            "this node has its half of the path {name} to {}: it works once {} has the other half",
            path.peer, path.peer
        );
        let mut paths = self.own.clone();
        paths.push(path);
        paths.sort_by(|a, b| (&a.peer, a.rank).cmp(&(&b.peer, b.rank)));
        self.put_in_force(paths)?;
        Ok(Reply::Done(v1::CommandReply::new(sentence)))
    }

    pub(super) fn delete_path(&mut self, request: &v1::PathRequest) -> Result<Reply> {
        let path = self.own_path(request)?;
        let (peer, name) = (&path.peer, path.name());
        let mut paths = self.own.clone();
        paths.retain(|other| other.peer != *peer || other.name() != name);
        if paths.len() == self.own.len() {
            let message = format!("this node defines no path {name} to {peer}");
            return Err(v1::Error::new(ErrorCode::NotFound, message).help(
                "paths of [[network]] are in the shared configuration: `mainstay config apply`",
            ));
        }
        self.put_in_force(paths)?;
        let sentence = format!("this node has no path {name} to {peer} any more");
        Ok(Reply::Done(v1::CommandReply::new(sentence)))
    }

    /// What a request names.
    fn own_path(&self, request: &v1::PathRequest) -> Result<OwnPath> {
        let wrong = |message: String| v1::Error::new(ErrorCode::BadRequest, message);
        let address = |text: &str, key: &str| -> Result<IpAddr> {
            text.parse().map_err(|_| wrong(format!("`{key}`: \"{text}\" is no address")))
        };
        let over = match request.kind.as_str() {
            "" | "udp" => {
                let (local, remote) =
                    (address(&request.local, "local")?, address(&request.remote, "remote")?);
                if local.is_ipv4() != remote.is_ipv4() || local == remote {
                    return Err(wrong(format!("there is no way from {local} to {remote}")));
                }
                Over::Udp { local, remote, port: request.port }
            }
            "serial" if request.local.starts_with('/') => {
                let baud = request.baud.unwrap_or(crate::config::network::BAUD_DEFAULT);
                Over::Serial { device: request.local.clone(), baud }
            }
            "serial" => {
                return Err(wrong(format!("`local`: \"{}\" is no device", request.local)));
            }
            other => {
                return Err(wrong(format!("`kind`: there is no path of kind \"{other}\""))
                    .help("kinds are udp and serial"));
            }
        };
        Ok(OwnPath { peer: request.peer.clone(), over, rank: 1 })
    }

    /// Writes these paths down and puts them in force.
    fn put_in_force(&mut self, paths: Vec<OwnPath>) -> Result<()> {
        let text = own::text(&paths);
        let bytes = text.clone().into_bytes();
        let before = Some((self.root.paths(), text));
        if self.writes_paths || self.disk_refuses.is_some() {
            let message = "the last change of paths is still on its way to the disk";
            return Err(v1::Error::new(ErrorCode::Busy, message)
                .help("try again; `mainstay status` says what is wrong with the state directory"));
        }
        self.writes_paths = true;
        self.write(Write { token: Some(disk::PATHS_TOKEN), name: disk::PATHS, bytes, before });
        self.own = paths;
        self.cluster.networks.retain(|network| network.rank.is_none());
        self.adopt_own();
        let core = convert::cluster(&self.cluster, self.node.local().node);
        self.open_networks();
        self.feed(Input::Configured(Box::new(core)));
        Ok(())
    }

    /// Adds this node's own paths to the configuration as it is in force here.
    pub(super) fn adopt_own(&mut self) {
        let local = self.node.local().node;
        let (cluster, unusable) = own::with_own(self.cluster.clone(), &self.own, local);
        self.cluster = cluster;
        for sentence in unusable {
            self.journal.say(&sentence);
        }
    }
}
