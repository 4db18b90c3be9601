//! Corosync, alone or with Pacemaker, in a lab: both networks, everything else as Debian ships it.
//!
//! How Corosync is configured and started stands in the crate `lab`. Pacemaker gets one address
//! (`ocf:heartbeat:IPaddr2`, a monitor every 10 s as its metadata advise) and the one setting without
//! which it starts nothing where no fencing device exists. A clone of `ocf:heartbeat:ethmonitor` looks at
//! the carrier of the address's card once a second, and the address goes where there is one; what to do without a quorum stays at its
//! default (`stop`). The graceful move is `crm_resource --move`, then `--clear`.
//!
//! Its programs have their places in the file system built in as well, so each node sees folders of
//! its own there.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::cluster::SERVICE_ADDRESS;
use lab::{Lab, clock, corosync, spec, wait};

use super::product::{Installed, demand};
use super::site::PATIENCE;

/// Corosync, and what runs on top of it.
pub(crate) struct Corosync {
    pub(crate) with_pacemaker: bool,
}

/// What Pacemaker writes to.
const FOLDERS: [&str; 2] = ["/var/lib/pacemaker", "/var/log/pacemaker"];
/// Folders below `/var/lib/pacemaker` that the package makes.
const PACEMAKER_FOLDERS: [&str; 4] = ["blackbox", "cib", "cores", "pengine"];

/// The one resource.
const RESOURCE: &str = "ip";
/// What watches the card that the address needs, and the attribute that it sets.
const WATCHER: &str = "watch";
const ATTRIBUTE: &str = "ethmonitor-net0";

/// How long between two questions to a daemon that is not ready.
const STEP: Duration = Duration::from_millis(500);

/// The address as Pacemaker's configuration has it.
fn resource() -> String {
    let attributes = [("ip", SERVICE_ADDRESS.to_string()), ("cidr_netmask", "24".to_owned())];
    let attributes = attributes.map(|(name, value)| {
        format!("<nvpair id=\"{RESOURCE}-{name}\" name=\"{name}\" value=\"{value}\"/>")
    });
    format!(
        "<primitive id=\"{RESOURCE}\" class=\"ocf\" provider=\"heartbeat\" type=\"IPaddr2\">\
         <instance_attributes id=\"{RESOURCE}-attributes\">{}</instance_attributes>\
         <operations><op id=\"{RESOURCE}-monitor\" name=\"monitor\" interval=\"10s\" \
         timeout=\"20s\"/></operations></primitive>",
        attributes.concat()
    )
}

/// What watches the card on each node: by its carrier, once a second (10 s is what its metadata advise).
fn watcher() -> String {
    let attributes = [("interface", "net0"), ("link_status_only", "true"), ("repeat_count", "1")];
    let attributes = attributes.map(|(name, value)| {
        format!("<nvpair id=\"{WATCHER}-{name}\" name=\"{name}\" value=\"{value}\"/>")
    });
    format!(
        "<clone id=\"{WATCHER}-clone\"><primitive id=\"{WATCHER}\" class=\"ocf\" \
         provider=\"heartbeat\" type=\"ethmonitor\"><instance_attributes \
         id=\"{WATCHER}-attributes\">{}</instance_attributes><operations><op \
         id=\"{WATCHER}-monitor\" name=\"monitor\" interval=\"1s\" timeout=\"20s\"/></operations>\
         </primitive></clone>",
        attributes.concat()
    )
}

/// The address goes where the card works.
fn constraint() -> String {
    format!(
        "<rsc_location id=\"where\" rsc=\"{RESOURCE}\"><rule id=\"where-rule\" \
         score=\"-INFINITY\" boolean-op=\"or\"><expression id=\"where-unknown\" \
         attribute=\"{ATTRIBUTE}\" operation=\"not_defined\"/><expression id=\"where-down\" \
         attribute=\"{ATTRIBUTE}\" operation=\"ne\" value=\"1\"/></rule></rsc_location>"
    )
}

/// Pacemaker's folders of the node's own at the places that the programs know.
fn furnish(lab: &mut Lab, node: &str) -> Result<()> {
    for folder in FOLDERS {
        let below: &[&str] = if folder == "/var/lib/pacemaker" { &PACEMAKER_FOLDERS } else { &[] };
        corosync::own_folder(lab, node, folder, "hacluster:haclient", below)?;
    }
    // What tmpfiles.d makes at the start of a machine.
    demand(lab, node, &["install", "-d", "-m", "1755", "/run/resource-agents"]).map(drop)
}

/// Asks until the program succeeds: its daemon is starting.
fn insist(lab: &mut Lab, node: &str, words: &[&str]) -> Result<()> {
    let what = words.join(" ");
    wait::until(&what, PATIENCE, || match demand(lab, node, words) {
        Ok(_) => Ok(Some(())),
        Err(_) => {
            clock::pause(STEP);
            Ok(None)
        }
    })
}

impl Installed for Corosync {
    fn start(&mut self, lab: &mut Lab) -> Result<()> {
        if self.with_pacemaker {
            for node in lab.node_names() {
                furnish(lab, &node)?;
            }
        }
        corosync::start(lab)?;
        if !self.with_pacemaker {
            return Ok(());
        }
        for node in lab.node_names() {
            // It ends when there is no Corosync yet.
            insist(lab, &node, &["corosync-cmapctl", "-g", "runtime.votequorum.this_node_id"])?;
            lab.spawn_in(&node, &["pacemakerd"])?;
        }
        let first = spec::node_name(1);
        let setting = ["crm_attribute", "--name", "stonith-enabled", "--update", "false"];
        insist(lab, &first, &setting)?;
        for (scope, what) in
            [("resources", watcher()), ("resources", resource()), ("constraints", constraint())]
        {
            insist(lab, &first, &["cibadmin", "--create", "--scope", scope, "-X", &what])?;
        }
        Ok(())
    }

    fn is_settled(&mut self, lab: &mut Lab) -> Result<bool> {
        let names = lab.node_names();
        if !self.with_pacemaker {
            return corosync::is_settled(lab);
        }
        for node in &names {
            let output = lab.run_in(node, &["crm_mon", "--one-shot", "--output-as=xml"])?;
            if !is_whole(&String::from_utf8_lossy(&output.stdout), names.len()) {
                return Ok(false);
            }
        }
        // Ends when nothing is left to do.
        let wait = ["crm_resource", "--wait", "--timeout=30s"];
        Ok(lab.run_in(&names[0], &wait)?.status.success())
    }

    fn begin_move(&mut self, lab: &mut Lab, from: &str) -> Result<()> {
        let to = lab.node_names().into_iter().find(|name| name != from);
        let to = to.context("there is another node")?;
        let words = ["crm_resource", "--resource", RESOURCE, "--move", "--node", &to];
        demand(lab, from, &words).map(drop)
    }

    fn end_move(&mut self, lab: &mut Lab, from: &str) -> Result<()> {
        demand(lab, from, &["crm_resource", "--resource", RESOURCE, "--clear"]).map(drop)
    }
}

/// Whether `crm_mon` shows so many nodes that take part, and the resource running.
fn is_whole(xml: &str, nodes: usize) -> bool {
    let is_member = |line: &&str| {
        line.contains("<node ")
            && line.contains("online=\"true\"")
            && line.contains("pending=\"false\"")
            && line.contains("expected_up=\"true\"")
    };
    let resource = format!("<resource id=\"{RESOURCE}\" ");
    let runs = |line: &str| line.contains(&resource) && line.contains("role=\"Started\"");
    xml.lines().filter(is_member).count() == nodes && xml.lines().any(runs)
}
