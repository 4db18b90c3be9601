//! Paths that this node alone defines: created and deleted while it runs.
//!
//! Only this node's half is touched, whoever is in a view or not. Until the other node has its half
//! the path is dead. With `pair` the other node is told first (`errands`), then the own half follows.

use std::net::IpAddr;

use api::v1::{self, ErrorCode};
use node::Input;

use super::convert;
use super::disk::Write;
use super::drive::Daemon;
use super::errands::{Asker, Verb};
use crate::config::network::ETHERTYPE_DEFAULT;
use crate::config::own::{self, EVERYBODY, LINKS_MAX, Over, OwnPath, RANK_MAX};
use crate::serve::Answer;

type Result<T> = core::result::Result<T, v1::Error>;

/// A change that is in force, and whose file is on its way to the disk.
pub(super) struct Change {
    /// What was before, should the disk refuse.
    before: Vec<OwnPath>,
    asker: Asker,
    sentence: String,
}

/// The paths of this node with one more.
pub(super) struct With {
    paths: Vec<OwnPath>,
    /// The place of the new one.
    pub(super) rank: u8,
    sentence: String,
}

impl Daemon {
    /// Answers when the path is in force and on the disk.
    pub(super) fn create_path(&mut self, request: v1::PathRequest, answer: Answer) {
        match request.pair {
            true => self.path_pair(Verb::Create, request, answer),
            false => self.create_half(&request, Asker::Client(answer)),
        }
    }

    /// Likewise when the path is gone.
    pub(super) fn delete_path(&mut self, request: v1::PathRequest, answer: Answer) {
        match request.pair {
            true => self.path_pair(Verb::Delete, request, answer),
            false => self.delete_half(&request, Asker::Client(answer)),
        }
    }

    pub(super) fn create_half(&mut self, request: &v1::PathRequest, asker: Asker) {
        match self.with_path(request) {
            Ok(With { paths, sentence, .. }) => self.put_in_force(paths, sentence, asker),
            Err(error) => self.answer_asker(asker, Err(error)),
        }
    }

    pub(super) fn delete_half(&mut self, request: &v1::PathRequest, asker: Asker) {
        match self.without_path(request) {
            Ok((paths, sentence)) => self.put_in_force(paths, sentence, asker),
            Err(error) => self.answer_asker(asker, Err(error)),
        }
    }

    pub(super) fn with_path(&self, request: &v1::PathRequest) -> Result<With> {
        let mut path = self.own_path(request)?;
        let name = path.name();
        let local = self.node.local().node;
        if let Over::Ethernet { interface, .. } = &path.over
            && interface.is_empty()
        {
            return Err(v1::Error::new(ErrorCode::BadRequest, "`local`: name an interface"));
        }
        path.rank = self.rank(&path, request.rank)?;
        let network = path.network(&self.cluster, local).map_err(|why| {
            let names: Vec<&str> = (self.cluster.nodes.iter())
                .filter(|node| node.id != local)
                .map(|node| node.name.as_str())
                .collect();
            v1::Error::new(ErrorCode::NotFound, why)
                .help(format!("the other nodes are {}", names.join(", ")))
        })?;
        let to = if path.peer == EVERYBODY { "all nodes" } else { &path.peer }.to_owned();
        if self.own.iter().any(|other| other.is_same(&path)) {
            let message = format!("this node has a path {name} to {to} already");
            return Err(v1::Error::new(ErrorCode::Conflict, message)
                .help("`mainstay path list` shows all paths; delete it to give it another port"));
        }
        own::fits(&self.cluster, network, local)
            .map_err(|why| v1::Error::new(ErrorCode::Refused, format!("path {name}: {why}")))?;
        let sentence = match &path.over {
            Over::Ethernet { interface, .. } => format!(
                "this node has link {name}, number {}, on {interface}: it works with each node that \
                 has one of that number",
                path.rank
            ),
            Over::Disk { device } => format!(
                "this node has path {} over the disk {device}: it works with each node that has one \
                 of that number on the same disk",
                path.rank
            ),
            Over::Udp { .. } | Over::Serial { .. } => format!(
                "this node has its half of the path {name} to {to}: it works once {to} has the \
                 other half"
            ),
        };
        let (mut paths, rank) = (self.own.clone(), path.rank);
        paths.push(path);
        paths.sort_by(|a, b| (&a.peer, a.rank).cmp(&(&b.peer, b.rank)));
        Ok(With { paths, rank, sentence })
    }

    /// The place of a new path among those to its peer.
    fn rank(&self, path: &OwnPath, wanted: Option<u8>) -> Result<u8> {
        let same = |other: &&OwnPath| match path.is_shared() {
            true => std::mem::discriminant(&other.over) == std::mem::discriminant(&path.over),
            false => other.peer == path.peer,
        };
        let ranks: Vec<u8> = self.own.iter().filter(same).map(|other| other.rank).collect();
        if !path.is_shared() {
            let last = ranks.into_iter().max().unwrap_or(0);
            return Ok(wanted.unwrap_or(last.saturating_add(1)).clamp(1, RANK_MAX));
        }
        let refused = |message: String| Err(v1::Error::new(ErrorCode::Refused, message));
        match wanted.or_else(|| (1..=LINKS_MAX).find(|rank| !ranks.contains(rank))) {
            Some(rank) if ranks.contains(&rank) => {
                refused(format!("number {rank} is taken already"))
            }
            Some(rank) if (1..=LINKS_MAX).contains(&rank) => Ok(rank),
            Some(_) | None => refused(format!("there are at most {LINKS_MAX} of that kind")),
        }
    }

    fn without_path(&self, request: &v1::PathRequest) -> Result<(Vec<OwnPath>, String)> {
        let path = self.own_path(request)?;
        let (peer, name) = (&request.peer, path.name());
        let mut paths = self.own.clone();
        paths.retain(|other| !other.is_same(&path));
        if paths.len() == self.own.len() {
            let message = format!("this node defines no path {name} to {peer}");
            return Err(v1::Error::new(ErrorCode::NotFound, message).help(
                "paths of [[network]] are in the shared configuration: `mainstay config apply`",
            ));
        }
        Ok((paths, format!("this node has no path {name} to {peer} any more")))
    }

    /// What a request names.
    pub(super) fn own_path(&self, request: &v1::PathRequest) -> Result<OwnPath> {
        let wrong = |message: String| v1::Error::new(ErrorCode::BadRequest, message);
        let address = |text: &str, key: &str| -> Result<IpAddr> {
            text.parse().map_err(|_| wrong(format!("`{key}`: \"{text}\" is no address")))
        };
        let over = match request.kind.as_str() {
            "" | "udp" => {
                let (local, remote) =
                    (address(&request.local, "local")?, address(&request.remote, "remote")?);
                let is_link_local =
                    |address| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
                if is_link_local(local) || is_link_local(remote) {
                    let message = "a link-local address means nothing without an interface";
                    return Err(wrong(message.to_owned())
                        .help("use a [[network]] with `interface`, or another address"));
                }
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
            "disk" | "ethernet" if request.peer != EVERYBODY && !request.pair => {
                return Err(wrong(
                    "`peer`: a path over Ethernet or a disk leads to all nodes: \"*\"".into(),
                )
                .help("with `pair` the node is named whose half is to be made too"));
            }
            "ethernet" => {
                let name = if request.name.is_empty() { &request.local } else { &request.name };
                let (name, interface) = (name.clone(), request.local.clone());
                let ethertype = request.ethertype.unwrap_or(ETHERTYPE_DEFAULT);
                // To delete one its name is enough; a name that no link has deletes none.
                let why = own::link_error(&name, &interface, ethertype);
                if let Some(why) = why.filter(|_| !interface.is_empty()) {
                    return Err(wrong(why));
                }
                Over::Ethernet { name, interface, ethertype }
            }
            "disk" if request.local.starts_with('/') => {
                Over::Disk { device: request.local.clone() }
            }
            "disk" => {
                return Err(wrong(format!("`local`: \"{}\" is no device", request.local)));
            }
            other => {
                return Err(wrong(format!("`kind`: there is no path of kind \"{other}\""))
                    .help("kinds are udp, serial, ethernet and disk"));
            }
        };
        let low = request.low || matches!(over, Over::Serial { .. } | Over::Disk { .. });
        let mut path = OwnPath { peer: request.peer.clone(), over, rank: 1, low };
        if path.is_shared() {
            path.peer = EVERYBODY.to_owned();
        }
        Ok(path)
    }

    /// Puts these paths in force, and answers when they are on the disk.
    fn put_in_force(&mut self, paths: Vec<OwnPath>, sentence: String, asker: Asker) {
        let file = self.root.paths();
        let text = own::text(&paths);
        if let Err(found) = own::parse(&text, &file.display().to_string()) {
            // The next start would stumble over it.
            let error = v1::Error::new(ErrorCode::BadRequest, found.render(false));
            return self.answer_asker(asker, Err(error));
        }
        if self.path_change.is_some() {
            let message = "the last change of paths is still on its way to the disk";
            let error = v1::Error::new(ErrorCode::Busy, message)
                .help("try again; `mainstay status` says what is wrong with the state directory");
            return self.answer_asker(asker, Err(error));
        }
        let before = self.adopt(paths);
        self.path_change = Some(Change { before, asker, sentence });
        self.write(Write::Paths { file, text });
    }

    /// The disk has taken the paths, or says why not: then they are as before.
    pub(super) fn paths_written(&mut self, refused: Option<String>) {
        let Some(Change { before, asker, sentence }) = self.path_change.take() else { return };
        let result = match refused {
            None => Ok(sentence),
            Some(why) => {
                self.adopt(before);
                Err(v1::Error::new(ErrorCode::Refused, why))
            }
        };
        self.answer_asker(asker, result);
    }

    /// Puts these paths in force and gives those of before.
    fn adopt(&mut self, paths: Vec<OwnPath>) -> Vec<OwnPath> {
        let before = core::mem::replace(&mut self.own, paths);
        self.cluster.networks.retain(|network| network.rank.is_none());
        self.adopt_own();
        let core = convert::cluster(&self.cluster, self.node.local().node);
        self.open_networks();
        self.feed_later(Input::Configured(Box::new(core)));
        self.errands.greet = true;
        before
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
