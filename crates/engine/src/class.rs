//! What a lost machine can still do to a service, and therefore what frees the service.
//!
//! An address falls silent and a process ends when the lease of their machine is over: the kernel's
//! gate and the guard see to that. What was handed to a disk is another matter. A mount outlives the
//! processes that used it, a process that hangs in the kernel does not end when it is killed, and what
//! is on its way to the disk gets there. Two kernels that write to one file system destroy it. So
//! there are two classes (design, "Leases: why there is never a second owner"):
//!
//! - **contained**: freed when the lease is over ([`Proof::Time`](crate::Proof::Time));
//! - **storage**: freed only by proof that nothing of that life is left. One of the proofs counts
//!   time as well: that the machine's **watchdog** has reset it. It holds for a life that had told
//!   all members of its armed watchdog by an entry, and a member that has a watchdog starts nothing
//!   of a storage service before that entry was delivered;
//! - **reserved**: one of storage that reserves every disk it writes to before it does. The end of the
//!   lease frees it, because that is not what stops the writes of the lost machine: the next start is. It
//!   takes the disks from whoever had them (a pre-emption, which the disks themselves confirm), and nothing
//!   that comes after it in the service is started unless it has them all. So the proof is made anew by
//!   each owner, where it is needed, and counts for this service alone.
//!
//! **Rule:** a service is reserved when each mount is on a disk that an earlier resource reserves, and no
//! process is started before the reservations. What `class = "storage"` says of itself, and what is on a
//! disk that nobody reserves, is freed by proof only. As long as a lost machine may write to what only a
//! reservation keeps it from, the reservation stays in the configuration ([`ServiceState::unfenced`]).

use core::time::Duration;

use base::{Incarnation, Member, NodeId};
use minicbor::{Decode, Encode};

use crate::intent::{Intent, Resource, ResourceKind, Service};
use crate::journal::{Rule, bounded};
use crate::observation::{Observation, ServiceState};
use crate::replica::{Context, Draft, Replica};

/// What frees a service of a lost machine. The stronger one is the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Class {
    /// The end of the lease.
    #[default]
    #[n(0)]
    Contained,
    /// The end of the lease, and then the disks themselves refuse what the lost machine still writes.
    #[n(2)]
    Reserved,
    /// Only a proof that nothing of that life is left.
    #[n(1)]
    Storage,
}

impl Class {
    /// The name in files, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Class::Contained => "contained",
            Class::Reserved => "reserved",
            Class::Storage => "storage",
        }
    }
}

impl Service {
    /// Its class, and why: the first resource that makes it one of storage, or none when the
    /// configuration says so itself, or when it is contained.
    #[must_use]
    pub fn class(&self) -> (Class, Option<&str>) {
        let open = self.resources.iter().enumerate().find(|(at, _)| !self.is_covered(*at));
        let writes = self.resources.iter().find(|resource| resource.kind.is_storage());
        match (open, self.class, writes) {
            (Some((_, resource)), ..) => (Class::Storage, Some(&resource.name)),
            (None, Some(Class::Storage), _) => (Class::Storage, None),
            (None, _, Some(resource)) => (Class::Reserved, Some(&resource.name)),
            (None, class, None) => (class.unwrap_or_default(), None),
        }
    }

    /// Whether the resource at that place begins to write only when its disks are reserved, if it does.
    fn is_covered(&self, at: usize) -> bool {
        let (before, after) = self.resources.split_at(at);
        let reserves =
            |resource: &Resource| matches!(resource.kind, ResourceKind::Reservation { .. });
        match &after[0].kind {
            ResourceKind::Address { .. } | ResourceKind::Reservation { .. } => true,
            ResourceKind::Process { .. } => !after.iter().any(reserves),
            ResourceKind::Mount { device, filesystem, options, .. } => {
                let is_reserved = before.iter().any(|resource| {
                    matches!(&resource.kind, ResourceKind::Reservation { disks }
                        if disks.iter().any(|disk| is_on(device, disk)))
                });
                is_reserved && is_on_one_disk(filesystem, options)
            }
        }
    }
}

/// Whether a mount writes to the device that it names and to no other: file systems that span devices, and
/// options that name one (`logdev=`, `rtdev=`, `journal_path=`, `journal_dev=`), are not believed.
fn is_on_one_disk(filesystem: &str, options: &str) -> bool {
    let alone = ["ext2", "ext3", "ext4", "xfs", "vfat", "exfat", "f2fs"];
    let names_another = |option: &str| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        value.contains('/') || name.contains("dev") && name != "nodev" || name.contains("journal_")
    };
    alone.contains(&filesystem) && !options.split(',').any(|option| names_another(option.trim()))
}

/// Whether a device is a disk or, as udev names them, one of its partitions.
#[must_use]
pub fn is_on(device: &str, disk: &str) -> bool {
    let Some(rest) = device.strip_prefix(disk) else { return false };
    let number = rest.strip_prefix("-part");
    rest.is_empty()
        || number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// As [`Observation::class`], of what has been looked up.
pub(crate) fn strongest(state: Option<&ServiceState>, spec: Option<&Service>) -> Class {
    let held = state.and_then(|state| state.class);
    held.max(spec.map(|spec| spec.class().0)).unwrap_or(Class::Storage)
}

/// A node's watchdog, as its driver knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watchdog {
    /// It has none: its storage services are freed by other proofs only.
    #[default]
    Absent,
    /// It has one, to be armed before the first storage service starts.
    Ready,
    /// It is armed, and stays so while anything of a storage service is on this machine.
    Armed {
        /// When it is not fed for so long, it resets the machine.
        timeout: Duration,
    },
    /// It has one that could not be armed; storage services start all the same, and are freed by
    /// other proofs only.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What all members know of a node's watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Armed {
    /// The life that said so; nothing is known of others.
    #[n(0)]
    pub incarnation: Incarnation,
    /// When it is not fed for so long, it resets the machine.
    #[n(1)]
    pub timeout: Duration,
}

impl Observation {
    /// The timeout of the watchdog that this life has told all members of.
    #[must_use]
    pub fn watchdog(&self, life: Member) -> Option<Duration> {
        let armed = self.watchdogs.get(&life.node);
        armed.filter(|armed| armed.incarnation == life.incarnation).map(|armed| armed.timeout)
    }

    /// The timeout of the watchdog that resets the machine of this lost life for sure, if one does. Its
    /// guard feeds it without evidence as long as nothing that writes was entered there, so the life
    /// must have held a service that was one of storage **before** anything of it ran; and the reset is
    /// taken as a proof only when everything that the end of the lease leaves with it is of that kind.
    #[must_use]
    pub fn resets(&self, intent: &Intent, life: Member) -> Option<Duration> {
        let timeout = self.watchdog(life)?;
        let node = life.node;
        if self.doubtful.contains(node) {
            return None;
        }
        let is_kept = self.is_kept(intent.jeopardy, node);
        let mut watched = false;
        for (name, state) in &self.services {
            let holds = state.phase.holder().is_some_and(|holder| holder.node == node);
            let intrudes = state.intruders.iter().any(|member| member.node == node);
            let stays = is_kept || self.class(intent, name) == Class::Storage;
            let is_proven = holds && !intrudes && state.watched;
            if (holds || intrudes) && stays && !is_proven {
                return None;
            }
            watched |= is_proven;
        }
        watched.then_some(timeout)
    }

    /// Whether the goodbye of this lost life's guard is a proof. It says that no process is left, and that no
    /// service which it knew as one of storage was left unconfirmed; and it knows only those whose class its
    /// daemon had told it. Of a service that became one of storage while it ran, nobody knows whether the lost
    /// node heard so before it ended: what its kernel still has to write may come later.
    #[must_use]
    pub fn is_goodbye_proof(&self, intent: &Intent, life: Member) -> bool {
        let node = life.node;
        self.services.iter().all(|(name, state)| {
            let holds = state.phase.holder().is_some_and(|holder| holder.node == node);
            let intrudes = state.intruders.iter().any(|member| member.node == node);
            let is_known = holds && !intrudes && state.watched;
            !(holds || intrudes) || self.class(intent, name) == Class::Contained || is_known
        })
    }

    /// The class by which a service is freed: what it was when it was last started or adopted, or
    /// what it is by now if that is stronger. What was never configured here may write.
    #[must_use]
    pub fn class(&self, intent: &Intent, name: &str) -> Class {
        strongest(self.services.get(name), intent.service(name))
    }

    /// A node that may write to the storage of a service although it never said that it runs it. Which
    /// nodes the service may run on **now** says nothing about that: the list may have been another one
    /// when the node was lost.
    pub(crate) fn doubt(&self, intent: &Intent, name: &str) -> Option<NodeId> {
        intent.service(name).filter(|spec| spec.class().0 == Class::Storage)?;
        self.doubtful.into_iter().next()
    }

    /// A lost node that may write to what is known as the storage of a service.
    pub(crate) fn may_write(&self, name: &str) -> Option<NodeId> {
        let unfenced = self.services.get(name).into_iter().flat_map(|state| state.unfenced);
        let doubted = self.doubtful.union(self.suspects).into_iter();
        let lost =
            self.lost_holder(name).or_else(|| unfenced.into_iter().find(|n| self.is_lost(*n)));
        lost.or_else(|| doubted.into_iter().find(|node| !self.is_member(*node)))
    }

    /// A lost node that may still run a service.
    pub(crate) fn lost_holder(&self, name: &str) -> Option<NodeId> {
        let state = self.services.get(name);
        let holders = state.into_iter().flat_map(|state| {
            state.phase.holder().into_iter().chain(state.intruders.iter().copied())
        });
        holders.map(|member| member.node).find(|node| self.is_lost(*node))
    }

    /// No member, or one that has not said yet what it runs.
    fn is_lost(&self, node: NodeId) -> bool {
        !self.is_member(node) || self.unreported.contains(node)
    }

    /// What a service that this lost life holds waits for, in words.
    pub(crate) fn waits_for(&self, intent: &Intent, class: Class, holder: Member) -> String {
        let name = intent.name_of(holder.node);
        let is_kept = self.is_kept(intent.jeopardy, holder.node);
        if !self.lapsed.contains(holder.node) || class < Class::Storage && !is_kept {
            return format!("waiting until {name} is fenced");
        }
        if class < Class::Storage {
            return crate::jeopardy::waits_for(&name);
        }
        match self.resets(intent, holder) {
            Some(timeout) => format!(
                "{name} may still write: waiting for its watchdog ({}), a fence agent, or its return",
                crate::plan::seconds(timeout)
            ),
            None => by_proof_only(&name),
        }
    }
}

/// What a storage service waits for when no time frees it.
pub(crate) fn by_proof_only(name: &str) -> String {
    format!(
        "{name} may still write: waiting for a fence agent, its return, or \
         `mainstay node confirm-down {name}`"
    )
}

impl Replica {
    /// A member says what its watchdog does.
    pub(crate) fn watchdog(
        &mut self,
        context: &mut Context,
        origin: Member,
        timeout: Option<Duration>,
    ) {
        let node = origin.node;
        if self.observation.member(node) != Some(origin) {
            return;
        }
        let incarnation = origin.incarnation;
        let before = match timeout {
            Some(timeout) => {
                self.observation.watchdogs.insert(node, Armed { incarnation, timeout })
            }
            None => self.observation.watchdogs.remove(&node),
        };
        if before == timeout.map(|timeout| Armed { incarnation, timeout }) {
            return;
        }
        let name = self.intent.name_of(node);
        let sentence = match timeout {
            Some(timeout) => {
                let timeout = crate::plan::seconds(timeout);
                format!("the watchdog of {name} is armed: it resets the machine after {timeout}")
            }
            None => format!("the watchdog of {name} is not armed any more"),
        };
        let draft = Draft {
            service: None,
            because: None,
            rule: Rule::Remark,
            chosen: Some(node),
            rejected: Vec::new(),
            sentence: bounded(&sentence),
        };
        self.event(context, draft);
    }

    /// Notes for what a lost node's lease does not free.
    pub(crate) fn note_unproven(&mut self, context: &mut Context, node: NodeId) {
        let held: Vec<(String, Member)> = (self.observation.services.iter())
            .filter_map(|(name, state)| {
                let holder = state.phase.holder().filter(|holder| holder.node == node)?;
                Some((name.clone(), holder))
            })
            .collect();
        for (service, holder) in held {
            let class = self.observation.class(&self.intent, &service);
            let is_kept = self.observation.is_kept(self.intent.jeopardy, node);
            if class < Class::Storage && !is_kept {
                continue;
            }
            let why = self.observation.waits_for(&self.intent, class, holder);
            let draft = Draft {
                service: Some(&service),
                because: context.because,
                rule: Rule::Wait,
                chosen: None,
                rejected: Vec::new(),
                sentence: format!("{service} is not free: {why}"),
            };
            let number = self.note(context, draft);
            self.explain(&service, why, number);
        }
    }
}
