//! What can be written on the command line: one definition makes parser, help, man pages and
//! completions.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::fence::FenceCommand;
use super::network::NetworkCommand;
use super::reservation::ReservationCommand;
use super::watchdog::WatchdogCommand;

/// Keeps services running on a handful of machines.
#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 all is well, 1 degraded or refused, 2 a service is down or no \
                  primary view, 3 the daemon is not reachable, 64 wrong usage, \
                  or no usable configuration to run with.\n\
                  New here? `mainstay lab demo` shows a cluster that is attacked."
)]
pub struct Arguments {
    /// Everything of this node is below DIR (environment: MAINSTAY_ROOT) [default: /]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// In a lab (environment: MAINSTAY_LAB): the node that is meant
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) node: Option<String>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run this node: the guard and, below it, the daemon
    Run,
    /// The daemon itself; started by the guard
    #[command(hide = true)]
    Daemon(DaemonOptions),
    /// Asks a device something; started by the daemon
    #[command(hide = true)]
    AskStorage {
        /// What to ask or to do
        word: String,
        /// The device or the directory
        path: PathBuf,
        /// Keys and kinds of a reservation
        numbers: Vec<String>,
    },
    /// Create a cluster of which this machine is the first node
    Init(InitOptions),
    /// Find machines and interfaces that hear each other, and propose networks
    Discover(DiscoverOptions),
    /// Join a cluster with a token of one of its members
    Join(JoinOptions),
    /// Make a token that lets one new machine join
    Token(TokenOptions),
    /// Show everything on one screen
    Status,
    /// Show who is in the view
    Membership,
    /// Form a view now, without waiting for all nodes
    Seed(SeedOptions),
    /// Leave the view cleanly; services move away first
    Leave(LeaveOptions),
    /// Look at services, start, stop and move them
    Service {
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// Look at nodes, put them on standby and back
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Look at the configuration, check and replace it
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look at paths, and define this node's half of one
    Path {
        #[command(subcommand)]
        command: PathCommand,
    },
    /// Look at this node's interfaces, and have one count as failed
    Network {
        #[command(subcommand)]
        command: NetworkCommand,
    },
    /// Make the area of the cluster on a shared disk, look at it, and check it
    Disk {
        #[command(subcommand)]
        command: DiskCommand,
    },
    /// Break ties of clusters from a third machine
    Witness {
        #[command(subcommand)]
        command: WitnessCommand,
    },
    /// Look at fence agents, check them, and turn machines off and on
    Fence {
        #[command(subcommand)]
        command: FenceCommand,
    },
    /// Show what the promise rests on for each node and service, and what would make it stronger
    Risks,
    /// Look at persistent reservations of a shared disk, and change them by hand
    Reservation {
        #[command(subcommand)]
        command: ReservationCommand,
    },
    /// Look at the device that resets this machine when nothing else can, and try it
    Watchdog {
        #[command(subcommand)]
        command: WatchdogCommand,
    },
    /// Show what the kernel lets pass for each service address on this node
    Gate,
    /// Show how long a failure can keep each service away, and why
    Bound,
    /// Show why things are as they are
    Why(WhyOptions),
    /// Show the newest events, or follow them
    Events(EventsOptions),
    /// Show what happened, as far back as the daemon remembers
    History(HistoryOptions),
    /// A cluster of real daemons in this machine, to look at and to attack
    Lab {
        #[command(subcommand)]
        command: LabCommand,
    },
    /// Speak as another product's command: cmmodnet, cmviewcl, lkcli, lltconfig, lltstat
    Face {
        /// The command
        name: String,
        /// Its words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// List the other products' commands, or make links by their names
    Faces {
        /// Make the links in this directory, as /usr/local/sbin; nothing of another program is
        /// replaced
        #[arg(long, value_name = "DIR")]
        link: Option<PathBuf>,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all pages into a directory
    Man {
        /// Write mainstay.1, mainstay-status.1 and so on there
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct DaemonOptions {
    /// Descriptor of the memory shared with the guard
    #[arg(long, value_name = "NUMBER")]
    pub(super) shared_fd: i32,
}

#[derive(Debug, Args)]
pub(super) struct InitOptions {
    /// Name of the cluster
    #[arg(long)]
    pub(super) name: String,
    /// This machine's own address with prefix, as 10.77.0.1/24; once for each network
    #[arg(long, value_name = "CIDR", required_unless_present = "discover")]
    pub(super) address: Vec<String>,
    /// Find the networks that this machine shares with others, instead of --address; run `mainstay
    /// discover` on the others at the same time, with the same --secret
    #[arg(long, requires = "secret", conflicts_with = "address")]
    pub(super) discover: bool,
    /// With --discover: words that are entered on all machines; `-` reads them from standard input
    #[arg(long, value_name = "WORDS", requires = "discover")]
    pub(super) secret: Option<String>,
    /// With --discover: for how long
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(super) time: String,
    /// Name of the network of each --address, in the same order [default: net0, net1, …]
    #[arg(long, value_name = "NAME")]
    pub(super) network: Vec<String>,
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(super) node_name: Option<String>,
    /// How fast failures are noticed: ultra, fast, normal, classic
    #[arg(long, value_name = "PRESET", default_value = "normal")]
    pub(super) detection: String,
    /// Number of the cluster, 1 to 4294967295 [default: by lot]
    #[arg(long)]
    pub(super) id: Option<u32>,
    /// UDP port of the paths and TCP port for joining
    #[arg(long, default_value_t = crate::config::PORT_DEFAULT)]
    pub(super) port: u16,
}

#[derive(Debug, Args)]
pub(super) struct DiscoverOptions {
    /// Words that are entered on all machines, or a token of the cluster; `-` reads them from
    /// standard input [default: the key of this node's cluster; without one nobody is believed]
    #[arg(long, value_name = "WORDS")]
    pub(super) secret: Option<String>,
    /// For how long
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(super) time: String,
    /// UDP port to try [default: that of this node's cluster, else 7420]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Name of this machine [default: that of the node, or the host name]
    #[arg(long, value_name = "NAME")]
    pub(super) node_name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct JoinOptions {
    /// What `mainstay token` printed on a member; `-` reads it from standard input
    pub(super) token: String,
    /// This machine's own address with prefix, as 10.77.0.3/24 or net0=10.77.0.3/24; once for each
    /// network
    #[arg(long, value_name = "[NETWORK=]CIDR", required = true)]
    pub(super) address: Vec<String>,
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(super) node_name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct TokenOptions {
    /// For how long it is good, as 10m or 1h
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(super) lifetime: String,
}

#[derive(Debug, Args)]
pub(super) struct SeedOptions {
    /// Go on although absent nodes may hold newer state
    #[arg(long, requires = "believed_dead")]
    pub(super) force: bool,
    /// Nodes of which you have made sure that they are down
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub(super) believed_dead: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct LeaveOptions {
    /// Wait until the node has left, and say how far it is
    #[arg(long)]
    pub(super) wait: bool,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CommandOptions {
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Wait until it is done, for at most so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "60s")]
    pub(super) wait: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ServiceOptions {
    /// The service
    pub(super) service: String,
    /// The node [default: the best one, or all]
    pub(super) on: Option<String>,
    #[command(flatten)]
    pub(super) options: CommandOptions,
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Show all services
    List,
    /// Show one service in full
    Show {
        /// The service
        service: String,
    },
    /// Start a service
    Start(ServiceOptions),
    /// Stop a service and leave it stopped
    Stop {
        /// The service
        service: String,
        #[command(flatten)]
        options: CommandOptions,
    },
    /// Move a service once; leaves no rule behind
    Move(ServiceOptions),
    /// Let the cluster start and move a service by itself
    Auto(ServiceOptions),
    /// Start and move a service only when told
    Manual(ServiceOptions),
    /// Forget a service's failures
    Clear(ServiceOptions),
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Show all nodes
    List,
    /// Show one node in full
    Show {
        /// The node
        name: String,
    },
    /// Move a node's services away and give it none
    Standby(NodeOptions),
    /// Give a node services again
    Online(NodeOptions),
    /// Confirm that a lost node runs nothing: its services may start elsewhere now
    ConfirmDown(ConfirmOptions),
    /// Take a node that has left out of the configuration; refused while it is in the view or may
    /// still run something
    Remove(NodeOptions),
}

#[derive(Debug, Args)]
pub(super) struct ConfirmOptions {
    #[command(flatten)]
    pub(super) node: NodeOptions,
    /// The name once more, instead of being asked for it
    #[arg(long, value_name = "NAME")]
    pub(super) confirm: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct NodeOptions {
    /// The node
    pub(super) name: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PathCommand {
    /// Show all paths from this node
    List,
    /// Show the paths to one node in full
    Show {
        /// The other node
        peer: String,
    },
    /// Send probes over the paths and say what gets through, in which direction, how large, and
    /// what is in the way
    Test(PathTestOptions),
    /// Define this node's half of a path; define the other half on the other node, or use --pair
    Create(PathOptions),
    /// Take this node's half of a path back
    Delete(PathOptions),
}

#[derive(Debug, Args)]
pub(super) struct PathTestOptions {
    /// The other node [default: all]
    pub(super) peer: Option<String>,
    /// Only the path over this network, or of this name
    #[arg(long, value_name = "NAME")]
    pub(super) network: Option<String>,
    /// Probes over each path, 1 to 600; 100 on serial lines, 60 on disks [default: 20]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) count: Option<u16>,
}

#[derive(Debug, Args)]
pub(super) struct PathOptions {
    /// The other node; '*', all of them, with --ethernet and --disk
    pub(super) peer: String,
    /// This node's address, device or interface
    pub(super) local: String,
    /// The other node's address; with --pair also its device or interface, if it is called otherwise
    #[arg(required_unless_present_any = ["serial", "ethernet", "disk"])]
    pub(super) remote: Option<String>,
    /// Do the other node's half as well; it is told through the cluster
    #[arg(long)]
    pub(super) pair: bool,
    /// A serial line instead of UDP
    #[arg(long)]
    pub(super) serial: bool,
    /// Raw Ethernet on an interface instead of UDP
    #[arg(long, conflicts_with = "serial")]
    pub(super) ethernet: bool,
    /// A shared disk instead of UDP
    #[arg(long, conflicts_with_all = ["serial", "ethernet"])]
    pub(super) disk: bool,
    /// Name of a path over Ethernet [default: the interface's]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// EtherType of its frames [default: 0x88b5]
    #[arg(long, value_name = "NUMBER")]
    pub(super) ethertype: Option<String>,
    /// Of low priority: data only when no high path is left
    #[arg(long)]
    pub(super) low: bool,
    /// UDP port of both ends [default: the cluster's]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Bits per second of a serial line [default: 115200]
    #[arg(long, value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    pub(super) baud: Option<u32>,
    /// Order among the paths to that node, 1 to 99 [default: behind the others]; with --ethernet and
    /// --disk their number there, 1 to 8, the same on all nodes
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(super) rank: Option<u8>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the configuration in force
    Show,
    /// Check a configuration, and this node's key and name with it
    Check {
        /// The file [default: etc/mainstay/cluster.toml below the root]
        file: Option<PathBuf>,
    },
    /// Replace the configuration on all nodes
    Apply {
        /// The file
        file: PathBuf,
        /// Refuse when another version is in force than this one
        #[arg(long, value_name = "NUMBER")]
        expect: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DiskCommand {
    /// Make the area of this cluster on a blank device; no other node needs to do that
    Init {
        /// Block device or plain file that all nodes share
        device: PathBuf,
        /// Overwrite what the device holds, named by the id that `show` prints
        #[arg(long, value_name = "ID")]
        force: Option<String>,
    },
    /// Show what a device holds, and what the nodes last wrote to it
    Show {
        /// Block device or plain file
        device: PathBuf,
    },
    /// Read all, write where nobody reads, measure, and say whether it is good enough
    Check {
        /// Block device or plain file
        device: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum WitnessCommand {
    /// Answer the clusters that were added, until ended
    Serve {
        /// Address and TCP port, as 0.0.0.0:7402
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:7402")]
        listen: std::net::SocketAddr,
        #[command(flatten)]
        place: WitnessPlace,
    },
    /// On a member: print the cluster's key at its witness
    Key,
    /// On the witness: add a cluster; its key is read from standard input
    Add {
        /// What to call it here
        name: String,
        /// The cluster's number
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        id: u32,
        #[command(flatten)]
        place: WitnessPlace,
    },
    /// On the witness: list the clusters, and who asked last
    Show {
        #[command(flatten)]
        place: WitnessPlace,
    },
}

#[derive(Debug, Args)]
pub(super) struct WitnessPlace {
    /// The witness's directory [default: var/lib/mainstay-witness below the root]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct WhyOptions {
    /// Only about this service
    pub(super) service: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct EventsOptions {
    /// Go on printing events as they come
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only events with a higher number
    #[arg(long, value_name = "NUMBER")]
    pub(super) after: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct HistoryOptions {
    /// At most so many of the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    pub(super) limit: usize,
}

#[derive(Debug, Subcommand)]
#[command(after_help = LAB_HELP)]
pub(super) enum LabCommand {
    /// A story with measured times: form, cut, heal, kill, power off
    Demo {
        /// How fast failures are noticed: ultra, fast, normal, classic
        #[arg(long, value_name = "PRESET", default_value = "fast")]
        detection: String,
    },
    /// A cluster that stays up, and a shell to play in
    Shell {
        /// How many nodes
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// How many networks
        #[arg(long, default_value_t = 2)]
        networks: u8,
        /// Use network NUMBER as raw Ethernet, without addresses; 1 is net1
        #[arg(long, value_name = "NUMBER")]
        ethernet: Vec<u8>,
        /// A disk that all nodes share
        #[arg(long)]
        disk: bool,
        /// A serial line between two nodes, as n1-n2
        #[arg(long, value_name = "NODE-NODE")]
        line: Vec<String>,
        /// A second card for each node in each network, to which addresses go when the first one fails
        #[arg(long)]
        standbys: bool,
        /// How fast failures are noticed: ultra, fast, normal, classic
        #[arg(long, value_name = "PRESET", default_value = "fast")]
        detection: String,
        /// Run this instead of a shell
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Play one kind of failure several times and print the figures
    Scenario {
        /// Which one; without a name they are listed
        name: Option<String>,
        /// How often
        #[arg(long)]
        times: Option<u32>,
        /// How long, where a scenario can go on for longer
        #[arg(long)]
        seconds: Option<u32>,
        /// How fast failures are noticed: ultra, fast, normal, classic
        #[arg(long, value_name = "PRESET", default_value = "fast")]
        detection: String,
    },
    /// Cut two nodes apart again and again: who goes on, with each kind of tie-breaker
    Ties {
        /// Who breaks the ties
        #[arg(long, value_parser = ["disk", "witness", "etcd", "three", "manual", "none"],
              default_value = "witness")]
        tie: String,
        /// How often
        #[arg(long, value_name = "NUMBER", default_value_t = 200)]
        times: u32,
        /// Kill the tie-breaker, or one of three, at a random moment of each change; a disk freezes
        #[arg(long)]
        kill: bool,
        /// Kill it at one moment after the other, from the cut to the end of the change: at each once
        /// for a second, and once until nobody has gone on for longer
        #[arg(long, conflicts_with = "kill")]
        sweep: bool,
        /// Before each cut the node that carries the service loses its gateway: it must not go on
        #[arg(long, conflicts_with_all = ["kill", "sweep"])]
        gateway: bool,
        /// How fast failures are noticed: ultra, fast, normal, classic
        #[arg(long, value_name = "PRESET", default_value = "fast")]
        detection: String,
    },
    /// Blows by lot on real daemons, and whether a service ever had two owners
    Torture {
        /// Everything is drawn from it
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Blows in all
        #[arg(long, default_value_t = 80)]
        steps: u64,
        /// The round to begin with
        #[arg(long, value_name = "ROUND", default_value_t = 1)]
        first: u64,
        /// Blows of a round; each round has a cluster of its own
        #[arg(long, default_value_t = 8)]
        blows: u64,
        /// How many nodes
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// Who breaks the ties; it takes blows as well
        #[arg(long, value_parser = ["none", "disk", "witness", "etcd", "three"],
              default_value = "none")]
        tie: String,
        /// How fast failures are noticed: ultra, fast, normal, classic
        #[arg(long, value_name = "PRESET", default_value = "fast")]
        detection: String,
    },
    /// Many nodes on one network: frames, processor time and memory of each, beside Corosync's
    Scale {
        /// How many nodes; several numbers are measured one after the other
        #[arg(long, value_delimiter = ',', default_values_t = [16, 48])]
        nodes: Vec<u8>,
        /// Who watches whom
        #[arg(long, value_delimiter = ',', value_parser = ["mesh", "ring"],
              default_values = ["mesh", "ring"])]
        monitor: Vec<String>,
        /// How long each is left alone
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        /// Presets to try, the first that holds counts
        #[arg(long, value_name = "PRESET", value_delimiter = ',', default_values = ["normal", "classic"])]
        detection: Vec<String>,
        /// Leave Corosync out
        #[arg(long)]
        alone: bool,
    },
    /// The service of the lab: answers every probe with its name
    #[command(hide = true)]
    Responder {
        /// The name that it answers with [default: the host name]
        #[arg(long)]
        name: Option<String>,
        /// UDP and TCP port
        #[arg(long, default_value_t = lab::responder::PORT)]
        port: u16,
        /// A file, which must be there, for a record every few milliseconds
        #[arg(long, value_name = "FILE")]
        stamps: Option<PathBuf>,
    },
    /// A failure, from the shell of the lab
    #[command(external_subcommand)]
    Fault(Vec<String>),
}

const LAB_HELP: &str = "In the shell of `mainstay lab shell`, `mainstay --node n2 status` looks at \
                        a node, and `mainstay lab FAULT` breaks something; a wrong FAULT lists all.";
