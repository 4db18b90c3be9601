//! One rung of the fence ladder after the other is broken.
//!
//! The active node is cut off from its peers, and not from those outside: it goes on to serve for its
//! lease, which is far longer than the scenario. So whoever starts the service before that machine is
//! really off is a second owner, and the client and the observer see it. The first level's agent fails
//! in another way each time; the second level's does what it should. An agent is a shell script that
//! speaks to this lab as a power switch: it leaves a wish in a file, and the lab pulls the plug (all
//! processes of the machine end at once) or switches on again, and writes down what the power is.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Played;
use crate::api;
use crate::clock::{self, milliseconds};
use crate::cluster::Cluster;
use crate::lab::Lab;
use crate::scene::{PATIENCE, Scene};
use crate::wait;

/// What is wrong with the first level, in turn. `late` is none: it is off after "done" was said.
pub(super) const RUNGS: [&str; 6] =
    ["wrong-password", "unreachable", "hangs", "lies", "slow", "late"];
/// How long each level may take.
pub(super) const BUDGET: Duration = Duration::from_secs(4);
/// Much longer than all levels together: time frees nothing here.
const LEASE: Duration = Duration::from_secs(60);
/// After how long the plug is pulled for an agent that said so at once.
const LATE: Duration = Duration::from_millis(1_500);
const PASSWORD: &str = "correct horse";

const AGENT: &str = r#"#!/bin/sh
# Options as lines key=value on standard input; see "FenceAgentAPI".
here=${0%/*}
while IFS= read -r line; do
    case $line in
        action=*) action=${line#action=} ;;
        plug=*) plug=${line#plug=} ;;
        password=*) password=${line#password=} ;;
        rung=*) rung=${line#rung=} ;;
    esac
done
trouble=none
[ "$rung" = 1 ] && read -r trouble < "$here/trouble"
if [ "$action" = metadata ]; then
    echo '<parameters><parameter name="plug"/><parameter name="password"/><parameter name="rung"/>'
    echo '</parameters><actions><action name="status"/></actions>'
    exit 0
fi
if [ "$password" != "$(cat "$here/password")" ]; then
    echo "cannot log in with $password" >&2
    exit 1
fi
case $trouble in
    unreachable) echo "no route to the power switch" >&2; exit 1 ;;
    hangs) sleep 1000 ;;
esac
if [ "$action" = status ]; then
    [ "$(cat "$here/$plug.power")" = on ] && exit 0
    exit 2
fi
case $trouble-$action in
    lies-off) exit 0 ;;
    slow-off) sleep 120 ;;
    late-off) echo late > "$here/$plug.new"; mv "$here/$plug.new" "$here/$plug.wish"; exit 0 ;;
esac
echo "$action" > "$here/$plug.new"
mv "$here/$plug.new" "$here/$plug.wish"
while [ "$(cat "$here/$plug.power")" != "$action" ]; do sleep 0.02; done
"#;

/// Puts the power switch into the lab; gives its directory, which all machines see.
pub(super) fn furnish(lab: &Lab) -> Result<PathBuf> {
    let directory = lab.directory().join("power");
    fs::create_dir(&directory).context("a place for the power switch")?;
    let agent = directory.join("fence_switch");
    fs::write(&agent, AGENT)?;
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
    fs::write(directory.join("password"), format!("{PASSWORD}\n"))?;
    fs::write(directory.join("first-password"), format!("{PASSWORD}\n"))?;
    fs::write(directory.join("trouble"), "none\n")?;
    for name in lab.node_names() {
        set_power(&directory, &name, "on")?;
    }
    Ok(directory)
}

/// Two levels for each node, and a lease that outlasts them.
pub(super) fn adapt(cluster: &mut Cluster, directory: &Path) -> Result<()> {
    cluster.times = format!(", lease = \"{}s\"", LEASE.as_secs());
    let shown = directory.to_str().context("the lab's directory is not text")?;
    for node in cluster.services[0].nodes.clone() {
        for (level, password) in [(1, "first-password"), (2, "password")] {
            cluster.tail.push_str(&format!(
                "\n[[fence]]\nnode = \"{node}\"\nlevel = {level}\n\
                 agent = \"{shown}/fence_switch\"\ntimeout = \"{}s\"\n[fence.options]\n\
                 plug = \"{node}\"\nrung = {level}\npassword_file = \"{shown}/{password}\"\n",
                BUDGET.as_secs()
            ));
        }
    }
    Ok(())
}

/// Written as a whole, so that nobody reads half of it.
fn set_power(directory: &Path, node: &str, power: &str) -> Result<()> {
    let new = directory.join(format!("{node}.power.new"));
    fs::write(&new, format!("{power}\n"))?;
    fs::rename(&new, directory.join(format!("{node}.power")))?;
    Ok(())
}

/// The power switch, as far as it has got.
struct Switch {
    directory: PathBuf,
    /// Plugs to be pulled later.
    late: VecDeque<(Duration, String)>,
    /// When each plug was pulled: all processes were gone then.
    pulled: Vec<(Duration, String)>,
    /// Machines that were switched on again.
    back: Vec<String>,
}

impl Switch {
    /// Does what agents have wished for.
    fn turn(&mut self, scene: &mut Scene) -> Result<()> {
        for node in scene.lab.node_names() {
            let wish = self.directory.join(format!("{node}.wish"));
            let Ok(wished) = fs::read_to_string(&wish) else { continue };
            fs::remove_file(&wish)?;
            match wished.trim() {
                "late" => self.late.push_back((clock::now() + LATE, node)),
                "off" => self.pull(scene, node)?,
                _ => {
                    // Whoever looks after the machine has mended its cables meanwhile.
                    scene.lab.heal_all()?;
                    if !scene.lab.is_on(&node)? {
                        scene.lab.power_on(&node)?;
                        scene.lab.start(&node)?;
                    }
                    set_power(&self.directory, &node, "on")?;
                    self.back.push(node);
                }
            }
        }
        if let Some((_, node)) = self.late.pop_front_if(|(at, _)| *at <= clock::now()) {
            self.pull(scene, node)?;
        }
        Ok(())
    }

    fn pull(&mut self, scene: &mut Scene, node: String) -> Result<()> {
        if scene.lab.is_on(&node)? {
            scene.lab.power_off(&node)?;
        }
        self.pulled.push((clock::now(), node.clone()));
        set_power(&self.directory, &node, "off")
    }
}

/// Plays the rung whose turn it is.
pub(super) fn next_rung(scene: &mut Scene, active: &str) -> Result<Played> {
    let directory = scene.lab.directory().join("power");
    let count = directory.join("played");
    let played = fs::read_to_string(&count).map_or(0, |text| text.len());
    fs::write(&count, ".".repeat(played + 1))?;
    let rung = RUNGS[played % RUNGS.len()];
    fs::write(directory.join("trouble"), format!("{rung}\n"))?;
    let password = if rung == "wrong-password" { "wrong" } else { PASSWORD };
    fs::write(directory.join("first-password"), format!("{password}\n"))?;
    let bound = api::fence_wait(scene.lab.root(active)?)?;

    let names = scene.lab.node_names();
    let others: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name != active).collect();
    let start = clock::now();
    scene.lab.partition(&[active], &others)?;
    let (late, pulled, back) = (VecDeque::new(), Vec::new(), Vec::new());
    let mut switch = Switch { directory, late, pulled, back };
    let is_done = wait::until("the machine to be off and on again", PATIENCE, || {
        switch.turn(scene)?;
        Ok((!switch.back.is_empty()).then_some(()))
    });
    scene.explain(is_done)?;
    scene.wait_for_all()?;
    scene.wait_until_quiet()?;
    let seen = scene.seen_since(start)?;

    let mut complaints = Vec::new();
    ensure!(switch.back == [active], "{:?} were switched on", switch.back);
    let (off, whom) = switch.pulled.first().context("no plug was pulled")?.clone();
    if switch.pulled.len() != 1 || whom != active {
        complaints.push(format!("the plugs pulled were {:?}", switch.pulled));
    }
    let elsewhere = seen
        .answers
        .answers
        .iter()
        .filter(|answer| seen.answers.responders[usize::from(answer.responder)] != active);
    let first = elsewhere.map(|answer| Duration::from_nanos(answer.received)).min();
    let first = first.context("nobody else answered")?;
    if first < off {
        let early = milliseconds(off - first);
        complaints.push(format!("another node answered {early:.0} ms before the machine was off"));
    }
    let late = bound.saturating_sub(first - start);
    if late.is_zero() {
        complaints.push("time was over first".to_owned());
    }
    let said = tell(scene, active)?;
    // A secret that an agent repeats must not be in it.
    if said.contains("log in with wrong") {
        complaints.push("the history has a password in it".to_owned());
    }
    let mut played = Played::from(seen);
    played.complaints = complaints;
    played.notes.push(format!(
        "{rung}: off {:.0} ms after the cut, served {:.0} ms later, {:.0} s before F; {said}",
        milliseconds(off - start),
        milliseconds(first.saturating_sub(off)),
        late.as_secs_f64()
    ));
    Ok(played)
}

/// What the node that fenced says of its last attempts.
fn tell(scene: &Scene, fenced: &str) -> Result<String> {
    let mut newest: Option<(u64, String)> = None;
    for name in scene.lab.node_names() {
        let history = api::get(scene.lab.root(&name)?, "/v1/fence/history")?;
        let records = history["records"].as_array().context("a history has records")?;
        let mut records = records.iter().rev().filter(|record| record["node"] == fenced).peekable();
        let Some(at) = records.peek().and_then(|last| last["at_ms"].as_u64()) else { continue };
        if newest.as_ref().is_some_and(|(newest, _)| *newest > at) {
            continue;
        }
        let mut said: Vec<String> = Vec::new();
        for record in records {
            let (level, took) = (&record["level"], &record["took_ms"]);
            let verb = record["verb"].as_str().unwrap_or_default();
            said.push(match record["error"].as_str() {
                None => format!("level {level} {verb} after {took} ms"),
                Some(error) => format!("level {level} not {verb} after {took} ms ({error})"),
            });
            // The attempt began with the first level.
            if verb == "off" && record["level"] == 1 {
                break;
            }
        }
        said.reverse();
        newest = Some((at, said.join(", ")));
    }
    newest.map(|(_, said)| said).context("nobody has fenced anybody")
}
