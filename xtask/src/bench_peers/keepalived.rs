//! keepalived in a lab: one VRRP instance on the client's network.
//!
//! VRRP (RFC 5798) lives on one interface, so the second network is of no use to it. A backup waits
//! for three intervals and its skew, (256 - priority) / 256 of an interval, before it takes over; the
//! priorities are the highest there are, so that the skew is as good as nothing. `nopreempt` because
//! the others are not made to move back when a node returns either.
//!
//! The interface that VRRP lives on is tracked: without its carrier an instance is in FAULT, and a
//! backup takes over. A second card in the same network has no part in that.
//!
//! The graceful way out is the end of the daemon: it gives the address up and sends an advertisement
//! of priority 0, on which a backup takes over after its skew.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use lab::Lab;
use lab::cluster::SERVICE_ADDRESS;
use lab::many::Many;

use super::product::{Installed, demand};

/// With an advertisement interval in seconds, as text.
pub(crate) struct Keepalived {
    pub(crate) interval: &'static str,
    /// With so many addresses instead of the one that the client asks.
    pub(crate) many: Option<Many>,
}

/// Of `n1`, `n2`, `n3`; 255 is for the owner of the address.
const PRIORITIES: [u8; 3] = [254, 253, 252];

impl Keepalived {
    fn prefix(&self) -> u8 {
        if self.many.is_some() { lab::many::PREFIX } else { 24 }
    }

    /// `keepalived.conf` of the node with that priority; VRRP version 3 knows intervals below 1 s.
    fn text(&self, priority: u8) -> String {
        let interval = self.interval;
        let all = self.many.map_or_else(|| vec![SERVICE_ADDRESS], Many::list);
        let line = |address: &Ipv4Addr| format!("        {address}/{} dev net0\n", self.prefix());
        let lines = |addresses: &[Ipv4Addr]| addresses.iter().map(line).collect::<String>();
        // An advertisement names each address, and has room for few.
        let (first, others) = all.split_at(1);
        let (first, mut excluded) = (lines(first), String::new());
        if !others.is_empty() {
            excluded = format!("    virtual_ipaddress_excluded {{\n{}    }}\n", lines(others));
        }
        format!(
            "global_defs {{\n    vrrp_version 3\n}}\n\
             vrrp_instance bench {{\n    state BACKUP\n    nopreempt\n    interface net0\n    \
             virtual_router_id 51\n    priority {priority}\n    advert_int {interval}\n    \
             track_interface {{\n        net0\n    }}\n    virtual_ipaddress {{\n{first}    }}\n{excluded}}}\n"
        )
    }
}

fn start_on(lab: &mut Lab, node: &str) -> Result<()> {
    let file = lab.root(node)?.join("keepalived.conf");
    let file = file.to_str().context("the lab's directory is text")?.to_owned();
    lab.spawn_in(node, &["keepalived", "--dont-fork", "--log-console", "-f", &file])?;
    Ok(())
}

/// The pid file is there while the daemon is, which removes it at its end.
fn runs(lab: &Lab, node: &str) -> Result<bool> {
    Ok(lab.root(node)?.join("run/keepalived.pid").exists())
}

impl Installed for Keepalived {
    fn start(&mut self, lab: &mut Lab) -> Result<()> {
        for (node, priority) in lab.node_names().iter().zip(PRIORITIES) {
            let file = lab.root(node)?.join("keepalived.conf");
            fs::write(&file, self.text(priority)).context("writing keepalived.conf")?;
            start_on(lab, node)?;
        }
        Ok(())
    }

    fn is_settled(&mut self, lab: &mut Lab) -> Result<bool> {
        let mut owners = 0;
        for node in lab.node_names() {
            if !runs(lab, &node)? {
                return Ok(false);
            }
            let words = ["ip", "-oneline", "-4", "address", "show", "dev", "net0"];
            let address = format!(" {SERVICE_ADDRESS}/");
            owners += usize::from(demand(lab, &node, &words)?.contains(&address));
        }
        Ok(owners == 1)
    }

    fn begin_move(&mut self, lab: &mut Lab, from: &str) -> Result<()> {
        demand(lab, from, &["sh", "-c", "kill -TERM $(cat /run/keepalived.pid)"]).map(drop)
    }

    fn end_move(&mut self, lab: &mut Lab, from: &str) -> Result<()> {
        lab::wait::until("keepalived to end", super::site::PATIENCE, || {
            Ok((!runs(lab, from)?).then_some(()))
        })?;
        start_on(lab, from)
    }
}
