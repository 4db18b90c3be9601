//! `kind = "reservation"`: shared disks that only the service's own node may write to.

use engine::{Class, ResourceKind, Service};

use super::diagnostic::Diagnostics;
use super::read::{self, Section, Span};
use super::service::is_unstable;

/// Disks of one reservation.
const DISKS_MAX: usize = 16;

/// Reads `disks` of one resource, called so for people.
pub(super) fn disks(
    section: &mut Section<'_>,
    owner: &str,
    found: &mut Diagnostics,
) -> Option<ResourceKind> {
    let value = section.require("disks", "[\"/dev/disk/by-id/…\"]", found)?;
    let written = read::texts(value, "disks", found)?;
    if written.is_empty() || written.len() > DISKS_MAX {
        let text = format!("{owner} has {} disks", written.len());
        found.error(value.span(), text).label(format!("1 to {DISKS_MAX}"));
    }
    let mut disks: Vec<String> = Vec::new();
    for word in written {
        let path = word.value;
        if !path.starts_with("/dev/") || path.ends_with('/') {
            found
                .error(word.span, format!("\"{path}\" is no disk"))
                .help("write where it is: `/dev/disk/by-id/…`; names of file systems do not do");
        } else if is_partition(path) {
            found
                .error(word.span, format!("{path} is a partition"))
                .help("reservations are of whole disks: leave its `-part…` out");
        } else if disks.iter().any(|disk| disk == path) {
            found.error(word.span, format!("{path} is named twice"));
        } else {
            if is_unstable(path) {
                found
                    .warning(word.span, format!("{path} may be another disk after a start"))
                    .help("name it by `/dev/disk/by-id/…`");
            }
            disks.push(path.to_owned());
        }
    }
    Some(ResourceKind::Reservation { disks })
}

fn is_partition(path: &str) -> bool {
    path.rsplit_once("-part").is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What a service's reservations have to do with the rest of it, and with the services before it.
pub(super) fn check(before: &[Service], service: &Service, span: &Span, found: &mut Diagnostics) {
    let own = reserved(service);
    for other in before {
        let others = reserved(other);
        if let Some(disk) = own.iter().find(|disk| others.contains(disk)) {
            let text = format!("{} and {} both reserve {disk}", other.name, service.name);
            found
                .error(span.clone(), text)
                .help("a disk has one owner: make them one service, or give each disks of its own");
        }
        let pairs = [(&own, service, other), (&others, other, service)];
        for (disks, owner, user) in pairs {
            if let Some(disk) = disks.iter().find(|disk| mounts(user, disk)) {
                let text =
                    format!("{} has a mount on {disk}, which {} reserves", user.name, owner.name);
                found.error(span.clone(), text).help(
                    "on another node its writes would fail: move the mount into that service",
                );
            }
        }
    }
    let is_reservation = |kind: &ResourceKind| matches!(kind, ResourceKind::Reservation { .. });
    let last = service.resources.iter().rposition(|one| is_reservation(&one.kind));
    let Some(last) = last else { return };
    let is_early = |kind: &ResourceKind| {
        matches!(kind, ResourceKind::Process { .. } | ResourceKind::Mount { .. })
    };
    if let Some(early) = service.resources[..last].iter().find(|one| is_early(&one.kind)) {
        let (early, late) = (&early.name, &service.resources[last].name);
        found
            .error(span.clone(), format!("{early} of {} starts before {late}", service.name))
            .help("put reservations first: what writes starts when its disks are reserved");
    } else if service.class.is_none()
        && let (Class::Storage, Some(open)) = service.class()
    {
        let name = &service.name;
        found
            .warning(span.clone(), format!("{open} of {name} is on no disk that {name} reserves"))
            .help(
                "name the disk as the mount does (or its `-part…`): as it is, only a proof frees the \
                 service when its node is lost",
            );
    }
}

fn reserved(service: &Service) -> Vec<&str> {
    let disks = service.resources.iter().filter_map(|resource| match &resource.kind {
        ResourceKind::Reservation { disks } => Some(disks),
        _ => None,
    });
    disks.flatten().map(String::as_str).collect()
}

fn mounts(service: &Service, disk: &str) -> bool {
    service.resources.iter().any(|resource| match &resource.kind {
        ResourceKind::Mount { device, .. } => engine::is_on(device, disk),
        _ => false,
    })
}
