//! Corosync in a lab, for figures beside our own: alone, as Debian ships it.
//!
//! `corosync.conf` is that of the package (knet, no encryption, votequorum) with the names and
//! addresses of the lab's nodes on all its networks; no time is configured, so the token timeout is
//! 3,000 ms and 650 ms for each node from the third on (corosync.conf(5)).
//!
//! The program has its places in the file system built in, so each node sees folders of its own
//! there: mounts in the node's mount namespace, gone with it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::Lab;
use crate::spec::{self, Spec};

/// What it writes to.
const FOLDERS: [&str; 3] = ["/etc/corosync", "/var/lib/corosync", "/var/log/corosync"];

/// Where the program is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    // Debian does not have it in everybody's PATH.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let places = path.split(':').map(|folder| Path::new(folder).join("corosync"));
    { places }.find(|path| path.is_file())
}

/// `corosync.conf`: the package's, with the lab's nodes.
#[must_use]
pub fn configuration(spec: &Spec) -> String {
    let mut text =
        "totem {\n    version: 2\n    cluster_name: debian\n    crypto_cipher: none\n    \
         crypto_hash: none\n}\nlogging {\n    to_stderr: yes\n    to_logfile: yes\n    \
         logfile: /var/log/corosync/corosync.log\n    to_syslog: yes\n    debug: off\n}\n\
         quorum {\n    provider: corosync_votequorum\n}\nnodelist {\n"
            .to_owned();
    for id in 1..=spec.nodes {
        write!(text, "    node {{\n        name: {}\n        nodeid: {id}\n", spec::node_name(id))
            .expect("writing to a string");
        for network in 0..spec.networks {
            let address = spec::node_address(network, id);
            writeln!(text, "        ring{network}_addr: {address}").expect("writing to a string");
        }
        text.push_str("    }\n");
    }
    text.push_str("}\n");
    text
}

/// Gives a node a folder of its own at a place that a program has built in, with these folders in
/// it, all of them `owner`'s (`root:root`).
///
/// # Errors
/// When there is no such place on this machine: a mount needs something to cover.
pub fn own_folder(
    lab: &mut Lab,
    node: &str,
    place: &str,
    owner: &str,
    below: &[&str],
) -> Result<PathBuf> {
    ensure!(Path::new(place).is_dir(), "{place} is missing");
    let own = lab.root(node)?.join(place.trim_start_matches('/'));
    for path in below.iter().map(|name| own.join(name)).chain([own.clone()]) {
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    let text = own.to_str().context("the lab's directory is text")?;
    run(lab, node, &["chown", "-R", owner, text])?;
    run(lab, node, &["mount", "--bind", text, place])?;
    Ok(own)
}

/// Runs a program on a node, which must succeed; gives what it printed.
///
/// # Errors
/// With what it complained about.
pub fn run(lab: &mut Lab, node: &str, words: &[&str]) -> Result<String> {
    let output = lab.run_in(node, words)?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("on {node}: {}: {} {}", words.join(" "), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts it on all nodes.
///
/// # Errors
/// When it cannot be started; it may still end by itself.
pub fn start(lab: &mut Lab) -> Result<()> {
    let configuration = configuration(lab.spec());
    for node in lab.node_names() {
        for place in FOLDERS {
            own_folder(lab, &node, place, "root:root", &[])?;
        }
        let file = lab.root(&node)?.join("etc/corosync/corosync.conf");
        fs::write(&file, &configuration).context("writing corosync.conf")?;
        lab.spawn_in(&node, &["corosync", "-f"])?;
    }
    Ok(())
}

/// Whether all nodes say that all are there.
///
/// # Errors
/// When its tool cannot be started.
pub fn is_settled(lab: &mut Lab) -> Result<bool> {
    let names = lab.node_names();
    for node in &names {
        let output = lab.run_in(node, &["corosync-quorumtool", "-s"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let total = format!("Total votes:      {}", names.len());
        if !(said.contains("Quorate:          Yes") && said.contains(&total)) {
            return Ok(false);
        }
    }
    Ok(true)
}
