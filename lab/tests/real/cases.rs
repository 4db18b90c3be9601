//! Cases that run inside.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::spec::{node_address, node_address_v6};
use lab::{Lab, Mode, Signal, Spec, Which, clock, wait};

use crate::cards;
use crate::outside::SKIPPED;

type Case = fn() -> Result<()>;

pub(crate) const ALL: [(&str, Case); 21] = [
    ("switches_forward", switches_forward),
    ("a_cut_takes_the_carrier_and_heals", a_cut_takes_the_carrier_and_heals),
    ("one_way_cut", one_way_cut),
    ("loss_is_what_was_asked", loss_is_what_was_asked),
    ("partition_and_heal_all", partition_and_heal_all),
    ("link_down_loses_and_gets_back_addresses", link_down_loses_and_gets_back_addresses),
    ("takeover_is_seen_in_four_ways", takeover_is_seen_in_four_ways),
    ("two_owners_are_seen", two_owners_are_seen),
    ("daemon_guard_and_service_die_apart", daemon_guard_and_service_die_apart),
    ("power_off_ends_all_and_keeps_the_disk", power_off_ends_all_and_keeps_the_disk),
    ("nodes_are_apart", nodes_are_apart),
    ("a_daemon_tells_its_status", a_daemon_tells_its_status),
    ("a_shell_breaks_and_repairs", a_shell_breaks_and_repairs),
    ("the_story_with_a_toy", the_story_with_a_toy),
    ("stopped_daemons_with_a_toy", stopped_daemons_with_a_toy),
    ("many_nodes_with_permanent_neighbours", many_nodes_with_permanent_neighbours),
    ("a_disk_is_shared_and_fails_for_whom_it_should", a_disk_is_shared_and_fails),
    ("a_line_carries_and_is_cut", a_line_carries_and_is_cut),
    ("each_card_fails_by_itself", cards::each_card_fails_by_itself),
    ("a_silent_card_keeps_its_carrier", cards::a_silent_card_keeps_its_carrier),
    ("a_stream_follows_an_address_to_another_card", cards::a_stream_follows_an_address),
];

const MINUTE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(5);
pub(crate) const PORT: u16 = 7700;

pub(crate) fn run(name: &str) -> ExitCode {
    if let Err(error) = lab::enter() {
        println!("skipped: {error:#}");
        return ExitCode::from(SKIPPED as u8);
    }
    let outcome = match ALL.iter().find(|(known, _)| *known == name) {
        Some((_, case)) => case(),
        None if name == "wait_with_everything_running" => wait_with_everything_running(),
        None => Err(anyhow::anyhow!("no case {name}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Some cases are ended from outside: then nobody listens any more.
            let _nobody_listens = writeln!(std::io::stdout(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(nodes: u8, networks: u8, ipv6: bool) -> Result<Lab> {
    let mut spec = Spec::new(nodes, networks)?;
    spec.ipv6 = ipv6;
    let lab = Lab::new(spec)?;
    for name in lab.node_names() {
        fs::write(lab.root(&name)?.join("etc/mainstay/node"), format!("{name}\n"))?;
    }
    Ok(lab)
}

pub(crate) fn responder(lab: &mut Lab, node: &str) -> Result<()> {
    let program = lab.spec().program.display().to_string();
    lab.spawn_in(node, &[&program, "lab", "responder", "--port", "7700"])?;
    Ok(())
}

/// Probes for a while; the trace of that time.
fn probe_for(lab: &Lab, address: IpAddr, mode: Mode, time: Duration) -> Result<lab::Trace> {
    let probe = lab.client().probe(address, mode, INTERVAL)?;
    clock::pause(time);
    probe.stop()
}

pub(crate) fn answers(lab: &Lab, address: IpAddr) -> Result<bool> {
    Ok(!probe_for(lab, address, Mode::Udp(PORT), Duration::from_millis(150))?.answers.is_empty())
}

pub(crate) fn eventually_answers(lab: &Lab, address: IpAddr) -> Result<()> {
    wait::until(&format!("an answer of {address}"), Duration::from_secs(10), || {
        Ok(answers(lab, address)?.then_some(()))
    })
}

pub(crate) fn v4(network: u8, id: u8) -> IpAddr {
    node_address(network, id).into()
}

fn switches_forward() -> Result<()> {
    let mut lab = build(3, 2, true)?;
    for node in lab.node_names() {
        responder(&mut lab, &node)?;
    }
    for id in 1..=3 {
        eventually_answers(&lab, v4(0, id))?;
        eventually_answers(&lab, node_address_v6(0, id).into())?;
        for mode in [Mode::Tcp(PORT), Mode::Udp(PORT), Mode::Arp, Mode::Echo] {
            let trace = probe_for(&lab, v4(0, id), mode, Duration::from_millis(200))?;
            let verdict = trace.verdict();
            let only =
                verdict.responders.iter().map(String::as_str).eq([format!("n{id}").as_str()]);
            ensure!(only && verdict.sent > 10, "{mode:?}: {verdict:?}");
            let answered = verdict.sent - verdict.lost;
            ensure!(answered * 10 >= verdict.sent * 8, "{mode:?}: {verdict:?}");
        }
    }
    // The client is not in network 1: nothing there answers it.
    ensure!(!answers(&lab, v4(1, 1))?, "network 1 must be apart from network 0");
    Ok(())
}

fn a_cut_takes_the_carrier_and_heals() -> Result<()> {
    let mut lab = build(2, 2, false)?;
    responder(&mut lab, "n1")?;
    eventually_answers(&lab, v4(0, 1))?;
    ensure!(lab.has_carrier("n1", "net0")?, "carrier at the start");
    lab.cut("n1", "net0")?;
    ensure!(!lab.has_carrier("n1", "net0")?, "a cut takes the carrier");
    ensure!(lab.has_carrier("n1", "net1")?, "the other network is not touched");
    ensure!(lab.has_carrier("n2", "net0")?, "the other node is not touched");
    ensure!(!answers(&lab, v4(0, 1))?, "nothing gets through a cut cable");
    lab.heal("n1", "net0")?;
    eventually_answers(&lab, v4(0, 1))?;
    ensure!(lab.cut("n9", "net0").is_err() && lab.cut("n1", "net7").is_err(), "unknown names");
    Ok(())
}

fn one_way_cut() -> Result<()> {
    let mut lab = build(2, 1, false)?;
    responder(&mut lab, "n1")?;
    responder(&mut lab, "n2")?;
    eventually_answers(&lab, v4(0, 1))?;
    eventually_answers(&lab, v4(0, 2))?;
    // Frames of n1 do not reach the client, but the client's reach n1: n1 counts them.
    let before = udp_received(&mut lab, "n1")?;
    lab.cut_one_way("n1", "client", "net0")?;
    let trace = probe_for(&lab, v4(0, 1), Mode::Udp(PORT), Duration::from_millis(300))?;
    ensure!(trace.answers.is_empty(), "answers of n1 must be dropped");
    let received = udp_received(&mut lab, "n1")? - before;
    let sent = trace.sent.len() as u64;
    ensure!(received * 2 > sent, "n1 must still hear the client: {received} of {sent} datagrams");
    eventually_answers(&lab, v4(0, 2))?;
    lab.heal("n1", "net0")?;
    eventually_answers(&lab, v4(0, 1))?;
    // The other direction: nothing arrives at n1.
    lab.cut_one_way("client", "n1", "net0")?;
    let before = udp_received(&mut lab, "n1")?;
    ensure!(!answers(&lab, v4(0, 1))?, "n1 cannot hear the client");
    ensure!(udp_received(&mut lab, "n1")? == before, "nothing may arrive at n1");
    Ok(())
}

/// Datagrams that a node's kernel delivered, from `/proc/net/snmp` there.
fn udp_received(lab: &mut Lab, node: &str) -> Result<u64> {
    let output = lab.run_in(node, &["/bin/cat", "/proc/net/snmp"])?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().filter(|line| line.starts_with("Udp:")).nth(1);
    let number = line.and_then(|line| line.split(' ').nth(1)).context("no UDP counters")?;
    Ok(number.parse()?)
}

fn loss_is_what_was_asked() -> Result<()> {
    let mut lab = build(1, 1, false)?;
    responder(&mut lab, "n1")?;
    eventually_answers(&lab, v4(0, 1))?;
    lab.loss("n1", "net0", 200)?;
    let probe = lab.client().probe(v4(0, 1), Mode::Udp(PORT), Duration::from_micros(500))?;
    let mut probe = probe;
    wait::until("2000 probes", Duration::from_secs(60), || {
        Ok((probe.trace()?.sent.len() > 2000).then_some(()))
    })?;
    let verdict = probe.stop()?.verdict();
    // 20 % each way: 36 % of the questions have no answer. ARP may be lost too, which adds gaps.
    let lost = 100 * verdict.lost / verdict.sent;
    ensure!((25..=50).contains(&lost), "{lost} % lost: {verdict:?}");
    lab.loss("n1", "net0", 0)?;
    eventually_answers(&lab, v4(0, 1))?;
    let verdict = probe_for(&lab, v4(0, 1), Mode::Udp(PORT), Duration::from_millis(500))?.verdict();
    ensure!(verdict.lost * 20 <= verdict.sent, "loss must end: {verdict:?}");
    Ok(())
}

fn partition_and_heal_all() -> Result<()> {
    let mut lab = build(3, 2, false)?;
    for node in lab.node_names() {
        responder(&mut lab, &node)?;
        eventually_answers(
            &lab,
            v4(0, lab.node_names().iter().position(|n| *n == node).map_or(0, |i| i as u8 + 1)),
        )?;
    }
    lab.partition(&["client", "n1"], &["n2", "n3"])?;
    eventually_answers(&lab, v4(0, 1))?;
    ensure!(!answers(&lab, v4(0, 2))? && !answers(&lab, v4(0, 3))?, "n2 and n3 are not");
    lab.cut("n1", "net0")?;
    lab.heal_all()?;
    for id in 1..=3 {
        eventually_answers(&lab, v4(0, id))?;
    }
    ensure!(lab.partition(&["n1"], &["n1"]).is_err(), "nobody is on both sides");
    Ok(())
}

fn link_down_loses_and_gets_back_addresses() -> Result<()> {
    let mut lab = build(1, 1, true)?;
    responder(&mut lab, "n1")?;
    let address = node_address_v6(0, 1).into();
    eventually_answers(&lab, address)?;
    lab.link_down("n1", "net0")?;
    ensure!(!answers(&lab, address)?, "an interface that is down does not answer");
    lab.heal("n1", "net0")?;
    eventually_answers(&lab, address)?;
    eventually_answers(&lab, v4(0, 1))
}

pub(crate) const SERVICE_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 100);
pub(crate) const SERVICE: IpAddr = IpAddr::V4(SERVICE_V4);

fn takeover_is_seen_in_four_ways() -> Result<()> {
    for mode in [Mode::Udp(PORT), Mode::Tcp(PORT), Mode::Arp, Mode::Echo] {
        let mut lab = build(2, 1, false)?;
        responder(&mut lab, "n1")?;
        responder(&mut lab, "n2")?;
        lab.add_address("n1", "net0", SERVICE, 24)?;
        let mut probe = lab.client().probe(SERVICE, mode, INTERVAL)?;
        let answered_by = |probe: &mut lab::Probe, who: &str| {
            wait::until(&format!("{who} to answer ({mode:?})"), Duration::from_secs(20), || {
                Ok(probe.last()?.is_some_and(|(name, _)| name == who).then_some(()))
            })
        };
        answered_by(&mut probe, "n1")?;
        clock::pause(Duration::from_millis(200));
        lab.remove_address("n1", "net0", SERVICE, 24)?;
        lab.add_address("n2", "net0", SERVICE, 24)?;
        lab.announce("n2", "net0", SERVICE_V4)?;
        answered_by(&mut probe, "n2")?;
        clock::pause(Duration::from_millis(200));
        let trace = probe.stop()?;
        let verdict = trace.verdict();
        ensure!(verdict.late_answers == 0, "{mode:?}: {verdict:?}");
        ensure!(verdict.changes.len() == 1 && verdict.changes[0].to == "n2", "{verdict:?}");
        let longest = verdict.longest_gap.context("a gap")?.milliseconds;
        ensure!(longest >= verdict.changes[0].milliseconds - 0.001, "{mode:?}: {verdict:?}");
        let seconds = trace.per_second();
        ensure!(seconds.iter().map(|second| second.sent).sum::<u64>() == verdict.sent);
    }
    Ok(())
}

fn two_owners_are_seen() -> Result<()> {
    let mut lab = build(2, 1, false)?;
    lab.add_address("n1", "net0", SERVICE, 24)?;
    lab.add_address("n2", "net0", SERVICE, 24)?;
    let trace = probe_for(&lab, SERVICE, Mode::Arp, Duration::from_millis(500))?;
    let verdict = trace.verdict();
    ensure!(verdict.responders.len() == 2, "both must be seen: {verdict:?}");
    ensure!(verdict.late_answers > 10 && verdict.answered_twice > 10, "{verdict:?}");
    Ok(())
}

fn daemon_guard_and_service_die_apart() -> Result<()> {
    let mut lab = build(1, 1, false)?;
    lab.start("n1")?;
    ensure!(lab.start("n1").is_err(), "it runs already");
    let daemon = |lab: &mut Lab, other_than: Option<i32>| {
        wait::until("a daemon", Duration::from_secs(10), || {
            Ok(lab.daemon_pids("n1")?.1.filter(|pid| Some(*pid) != other_than))
        })
    };
    let first = daemon(&mut lab, None)?;
    eventually_answers(&lab, v4(0, 1))?;
    let mut probe = lab.client().probe(v4(0, 1), Mode::Udp(PORT), INTERVAL)?;
    lab.kill("n1", Signal::KILL, Which::Daemon)?;
    let second = daemon(&mut lab, Some(first))?;
    lab.stop("n1", Which::Both)?;
    let (guard, _) = lab.daemon_pids("n1")?;
    let states: Vec<char> = lab
        .processes("n1")?
        .iter()
        .filter(|process| Some(process.pid) == guard || process.pid == second)
        .map(|process| process.state)
        .collect();
    ensure!(states == ['T', 'T'], "both must be stopped: {states:?}");
    lab.cont("n1", Which::Both)?;
    clock::pause(Duration::from_millis(200));
    let verdict = probe.trace()?.verdict();
    ensure!(verdict.pids.get("n1").is_some_and(|pids| pids.len() == 1), "{verdict:?}");
    lab.kill("n1", Signal::KILL, Which::Guard)?;
    wait::until("the guard to be gone", Duration::from_secs(10), || {
        Ok(lab.daemon_pids("n1")?.0.is_none().then_some(()))
    })?;
    ensure!(answers(&lab, v4(0, 1))?, "the stand-in's service outlives its guard");
    lab.kill("n1", Signal::KILL, Which::Everything)?;
    wait::until("no process on n1", Duration::from_secs(10), || {
        Ok(lab.processes("n1")?.is_empty().then_some(()))
    })?;
    ensure!(!answers(&lab, v4(0, 1))?, "everything is dead");
    lab.start("n1")?;
    eventually_answers(&lab, v4(0, 1))
}

fn power_off_ends_all_and_keeps_the_disk() -> Result<()> {
    let mut lab = build(2, 2, false)?;
    lab.start_all()?;
    eventually_answers(&lab, v4(0, 1))?;
    fs::write(lab.root("n1")?.join("var/lib/mainstay/memory"), "kept")?;
    fs::write(lab.root("n1")?.join("run/forgotten"), "lost")?;
    let pids: Vec<i32> = lab.processes("n1")?.iter().map(|process| process.pid).collect();
    ensure!(pids.len() >= 3, "guard, daemon and service: {pids:?}");
    lab.power_off("n1")?;
    for pid in pids {
        ensure!(!fs::exists(format!("/proc/{pid}"))?, "process {pid} survived power-off");
    }
    let echo = probe_for(&lab, v4(0, 1), Mode::Echo, Duration::from_millis(300))?;
    ensure!(echo.answers.is_empty(), "the kernel of a machine without power is silent");
    ensure!(lab.run_in("n1", &["/bin/true"]).is_err(), "nothing runs without power");
    ensure!(lab.power_off("n1").is_err(), "it is off already");
    lab.cut("n1", "net1")?;
    lab.power_on("n1")?;
    ensure!(lab.has_carrier("n1", "net0")?, "cables are in again");
    ensure!(!lab.has_carrier("n1", "net1")?, "but not the one that was cut meanwhile");
    ensure!(fs::read_to_string(lab.root("n1")?.join("var/lib/mainstay/memory"))? == "kept");
    ensure!(!fs::exists(lab.root("n1")?.join("run/forgotten"))?, "/run is empty after power-on");
    ensure!(lab.processes("n1")?.is_empty(), "nothing starts by itself");
    lab.start("n1")?;
    eventually_answers(&lab, v4(0, 1))
}

fn nodes_are_apart() -> Result<()> {
    let mut lab = build(2, 2, false)?;
    let text = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    for node in lab.node_names() {
        let name = text(lab.run_in(&node, &["/bin/uname", "-n"])?);
        ensure!(name.trim() == node, "the host name of {node} is {name}");
        let pids = text(lab.run_in(&node, &["/bin/sh", "-c", "echo /proc/[0-9]*"])?);
        ensure!(pids.split_whitespace().count() <= 3, "{node} sees processes of others: {pids}");
        if lab.has_own_sysfs(&node)? {
            let found = text(lab.run_in(&node, &["/bin/ls", "/sys/class/net"])?);
            let mut list: Vec<&str> =
                found.split_whitespace().filter(|name| *name != "bonding_masters").collect();
            list.sort_unstable();
            ensure!(list == ["lo", "net0", "net1"], "{node} has {list:?}");
        }
        let group = text(lab.run_in(&node, &["/bin/sh", "-c", "grep ^0:: /proc/self/cgroup"])?);
        println!("{node}: control group {}", group.trim());
    }
    lab.run_in("n1", &["/bin/sh", "-c", "echo here > /run/a; echo here > /dev/shm/a"])?;
    let other = lab.run_in("n2", &["/bin/sh", "-c", "cat /run/a /dev/shm/a"])?;
    ensure!(other.stdout.is_empty(), "/run and /dev/shm must not be shared");
    let own = lab.root("n1")?.join("run/a");
    ensure!(fs::read_to_string(&own)? == "here\n", "/run of n1 is below its root");
    let client = text(lab.run_in("client", &["/bin/cat", "/proc/net/dev"])?);
    ensure!(client.contains("net0") && !client.contains("net1"), "{client}");
    if let Some(script) = group_script(&mut lab)? {
        let output = lab.run_in("n1", &["/bin/sh", "-c", &script])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Where the node has a control group of its own it is the root of what it sees, and it can make
/// groups in it and kill them.
fn group_script(lab: &mut Lab) -> Result<Option<String>> {
    let mounts = lab.run_in("n1", &["/bin/cat", "/proc/self/mountinfo"])?;
    let mounts = String::from_utf8(mounts.stdout)?;
    let group = lab.run_in("n1", &["/bin/sh", "-c", "grep ^0:: /proc/self/cgroup"])?;
    let root = String::from_utf8(group.stdout)?.trim() == "0::/";
    let mount = mounts.lines().rfind(|line| line.contains(" - cgroup2 "));
    let path = mount.and_then(|line| line.split(' ').nth(4));
    Ok(match path {
        Some(path) if root && rustix::process::geteuid().is_root() && can_write(path) => {
            Some(format!(
                "set -e; mkdir {path}/web; sleep 100 & echo $! > {path}/web/cgroup.procs; \
                 echo 1 > {path}/web/cgroup.kill; wait $! || true; rmdir {path}/web"
            ))
        }
        _ => None,
    })
}

fn can_write(path: &str) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

fn a_daemon_tells_its_status() -> Result<()> {
    let mut lab = build(2, 1, false)?;
    lab.write_files("", "")?;
    let error = lab::api::status(lab.root("n2")?).expect_err("no daemon runs");
    ensure!(format!("{error:#}").contains("no daemon listens"), "{error:#}");
    lab.start_all()?;
    let status = wait::until("a status of n2", Duration::from_secs(10), || {
        Ok(lab::api::status(lab.root("n2")?).ok())
    })?;
    ensure!(status.node.name == "n2" && status.view.members.len() == 3, "{status:?}");
    ensure!(status.services[0].node.as_deref() == Some("n1"), "{status:?}");
    ensure!(status.paths[0].state == "alive", "{status:?}");
    let error = lab::api::command(lab.root("n2")?, "/v1/seed", &serde_json::Value::Null)
        .expect_err("the stand-in knows only its status");
    ensure!(format!("{error:#}").contains("404"), "{error:#}");
    lab.stop("n2", Which::Daemon)?;
    ensure!(lab::api::status(lab.root("n2")?).is_err(), "a stopped daemon gives no status");
    ensure!(lab.log_tail("n2", 3)?.contains("n2 is listening"), "the log has its words");
    Ok(())
}

fn a_shell_breaks_and_repairs() -> Result<()> {
    let lab = build(2, 2, false)?;
    let program = lab.spec().program.display().to_string();
    // Inside, the switch's port is the far end of the client's world: only the lab can cut it.
    let script = format!(
        "set -e; test -d $MAINSTAY_LAB/n1/etc/mainstay; grep -q net0 /proc/net/dev; \
         {program} lab cut n1 net0; {program} lab loss n2 net1 100; {program} lab heal; \
         {program} lab power-off n2; {program} lab start n1; \
         if {program} lab cut n9 net0; then exit 3; fi; \
         if {program} lab power-off n2; then exit 4; fi; exit 42"
    );
    let words = ["/bin/sh", "-c", &script].map(str::to_owned);
    let status = lab.shell(&words)?;
    ensure!(status == 42, "the shell ended with {status}");
    Ok(())
}

/// Times are not what these cases test.
const PATIENT: lab::Limits =
    lab::Limits { takeover: MINUTE, wished_move: MINUTE, interval: MINUTE };

/// The toy reads its carrier in sysfs.
fn toy_is_possible() -> Result<bool> {
    let mut lab = build(1, 1, false)?;
    let possible = lab.has_own_sysfs("n1")?;
    if !possible {
        println!("not played: the kernel refuses a sysfs of its own to this user");
    }
    Ok(possible)
}

fn the_story_with_a_toy() -> Result<()> {
    if !toy_is_possible()? {
        return Ok(());
    }
    let mut out = Vec::new();
    let story = lab::story::tell_within(&mut out, "fast", PATIENT)?;
    println!("{}", String::from_utf8_lossy(&out));
    ensure!(story.passed && story.steps.len() == 7, "the toy plays by the rules");
    Ok(())
}

fn stopped_daemons_with_a_toy() -> Result<()> {
    if !toy_is_possible()? {
        return Ok(());
    }
    let (mut scene, formation) = lab::Scene::form(Lab::new(Spec::new(3, 2)?)?, "fast")?;
    scene.limits = PATIENT;
    println!("{formation:?}");
    let figure = lab::Scenario::StopDaemon.run(&mut scene)?;
    println!("{}", figure.sentence());
    ensure!(figure.is_good(), "{:?}", figure.failures);
    // The toy has no gate, so the node that stands still goes on answering: the verdict must see it.
    let figure = lab::Scenario::StopDaemonAndGuard.run(&mut scene)?;
    println!("{}", figure.sentence());
    let is_excused = figure.sentence().contains("this kernel has no lease gate");
    for seen in ["has no lease gate", "of a second owner", "answered by different nodes"] {
        let is_told = figure.failures.iter().any(|failure| failure.contains(seen));
        ensure!(is_told || is_excused, "nobody says {seen}: {:?}", figure.failures);
    }
    let figures = (0..3).map(|_| lab::Scenario::Move.run(&mut scene));
    let figures = figures.collect::<Result<Vec<lab::Figure>>>()?;
    ensure!(figures.iter().all(lab::Figure::is_good), "{figures:?}");
    println!("{}", lab::scenarios::report(lab::Scenario::Move, &figures)["outage_milliseconds"]);
    Ok(())
}

fn many_nodes_with_permanent_neighbours() -> Result<()> {
    let start = clock::now();
    let mut lab = build(24, 2, false)?;
    println!("24 nodes in {:.0} ms", clock::milliseconds(clock::now() - start));
    responder(&mut lab, "n24")?;
    eventually_answers(&lab, v4(0, 24))?;
    let table = lab.run_in("n1", &["/bin/cat", "/proc/net/arp"])?;
    let table = String::from_utf8(table.stdout)?;
    // 0x6: complete and permanent.
    let permanent = table.lines().filter(|line| line.contains(" 0x6 ")).count();
    ensure!(permanent == 23 * 2 + 1, "{permanent} permanent neighbours:\n{table}");
    Ok(())
}

fn wait_with_everything_running() -> Result<()> {
    let mut lab = build(2, 2, false)?;
    lab.start_all()?;
    eventually_answers(&lab, v4(0, 1))?;
    println!("up");
    clock::pause(Duration::from_secs(60));
    bail!("nobody ended this case")
}

/// A shell on a node: what it printed, and whether it went well.
fn sh(lab: &mut Lab, node: &str, script: &str) -> Result<(bool, String)> {
    let output = lab.run_in(node, &["/bin/sh", "-c", script])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.success(), text.trim().to_owned()))
}

/// By `dd` past the cache, as a daemon reads and writes.
fn a_disk_is_shared_and_fails() -> Result<()> {
    let mut lab = Lab::new(Spec { disk: true, ..Spec::new(2, 1)? })?;
    let place = |node: &str| lab::spec::disk_path(node).display().to_string();
    let (own, others) = (place("n1"), place("n2"));
    let write = |word: &str| {
        format!(
            "printf '%-4096s' {word} | \
             dd of={own} bs=4096 seek=3 oflag=direct iflag=fullblock conv=notrunc 2>&1"
        )
    };
    let read =
        format!("dd if={others} bs=4096 skip=3 count=1 iflag=direct 2>/dev/null | tr -d ' '");
    let (done, said) = sh(&mut lab, "n1", &write("first"))?;
    ensure!(done, "writing with direct I/O: {said}");
    ensure!(sh(&mut lab, "n2", &read)?.1 == "first", "n2 reads what n1 wrote");
    if !lab.disk_can_fail() {
        let error = lab.disk_freeze(None).expect_err("a plain file cannot freeze");
        ensure!(format!("{error:#}").contains("/dev/fuse"), "it says what is missing: {error:#}");
        return Ok(());
    }
    lab.disk_break(Some("n1"))?;
    ensure!(!sh(&mut lab, "n1", &write("second"))?.0, "for n1 the disk is broken");
    ensure!(sh(&mut lab, "n2", &read)?.1 == "first", "for n2 it works");
    lab.disk_thaw(Some("n1"))?;
    lab.disk_freeze(Some("n1"))?;
    let started = |lab: &mut Lab, word: &str| {
        lab.spawn_in("n1", &["/bin/sh", "-c", &write(word)])?;
        wait::until("dd to wait for the disk", Duration::from_secs(10), || {
            let all = lab.processes("n1")?;
            let is_dd =
                |process: &lab::Process| process.command.first().is_some_and(|word| word == "dd");
            Ok(all.iter().any(is_dd).then_some(()))
        })?;
        clock::pause(Duration::from_millis(300));
        let still = lab.processes("n1")?;
        let still = still.iter().any(|process| process.command.first().is_some_and(|w| w == "dd"));
        ensure!(still, "a write to a frozen disk does not end");
        Ok(())
    };
    started(&mut lab, "third")?;
    ensure!(sh(&mut lab, "n2", &read)?.1 == "first", "n2 reads while n1 waits");
    lab.disk_thaw(None)?;
    wait::until("the write to get through", Duration::from_secs(10), || {
        Ok((sh(&mut lab, "n2", &read)?.1 == "third").then_some(()))
    })?;
    lab.disk_freeze(None)?;
    started(&mut lab, "fourth")?;
    lab.power_off("n1")?;
    lab.heal_all()?;
    ensure!(sh(&mut lab, "n2", &read)?.1 == "third", "what hung when the power went was not done");
    Ok(())
}

/// By `cat` between raw terminals.
fn a_line_carries_and_is_cut() -> Result<()> {
    let mut lab = Lab::new(Spec { lines: vec![(1, 2)], ..Spec::new(2, 1)? })?;
    let ends = [("n1", "n2"), ("n2", "n1")];
    for (node, peer) in ends {
        let place = lab::spec::line_path(node, peer).display().to_string();
        let heard = lab.root(node)?.join("heard").display().to_string();
        let script = format!("stty raw -echo < {place}; exec cat < {place} > {heard}");
        // A second opener keeps the settings while `stty` ends.
        lab.spawn_in(node, &["/bin/sh", "-c", &format!("exec 3<>{place}; {script}")])?;
    }
    let heard = |lab: &Lab, node: &str| -> Result<String> {
        Ok(fs::read_to_string(lab.root(node)?.join("heard")).unwrap_or_default())
    };
    let say = |lab: &mut Lab, node: &str, word: &str| -> Result<()> {
        let peer = if node == "n1" { "n2" } else { "n1" };
        let place = lab::spec::line_path(node, peer).display().to_string();
        let (done, _) = sh(lab, node, &format!("printf {word} > {place}"))?;
        ensure!(done, "{node} can write to its line");
        Ok(())
    };
    let patience = Duration::from_secs(10);
    // Until both are listening, words are lost.
    for (node, peer) in ends {
        wait::until("a word to get through", patience, || {
            say(&mut lab, node, "a")?;
            clock::pause(Duration::from_millis(50));
            Ok(heard(&lab, peer)?.contains('a').then_some(()))
        })?;
    }
    lab.line_cut_one_way("n1", "n2")?;
    say(&mut lab, "n1", "lost")?;
    say(&mut lab, "n2", "back")?;
    wait::until("the way back", patience, || {
        Ok(heard(&lab, "n1")?.contains("back").then_some(()))
    })?;
    lab.line_pause("n1", "n2")?;
    say(&mut lab, "n2", "late")?;
    clock::pause(Duration::from_millis(200));
    ensure!(!heard(&lab, "n1")?.contains("late"), "a paused line carries nothing");
    lab.line_heal("n2", "n1")?;
    wait::until("what waited", patience, || Ok(heard(&lab, "n1")?.contains("late").then_some(())))?;
    say(&mut lab, "n1", "well")?;
    wait::until("a healed way", patience, || {
        Ok(heard(&lab, "n2")?.contains("well").then_some(()))
    })?;
    ensure!(!heard(&lab, "n2")?.contains("lost"), "what was cut off stays lost");
    lab.line_noise("n1", "n2", 1000)?;
    say(&mut lab, "n1", "clear")?;
    clock::pause(Duration::from_millis(200));
    ensure!(!heard(&lab, "n2")?.contains("clear"), "noise spoils words");
    Ok(())
}
