//! Named limits on everything that a peer or a user can fill, and how they relate.

/// Nodes in a cluster; node ids are below this.
pub const NODES_MAX: usize = 128;
/// Redundant networks in a configuration.
pub const NETWORKS_MAX: usize = 32;
/// Paths from one node to one peer.
pub const PATHS_PER_PEER_MAX: usize = 8;
/// Services in a configuration.
pub const SERVICES_MAX: usize = 500;
/// Resources of one service.
pub const RESOURCES_PER_SERVICE_MAX: usize = 64;
/// Bytes of one message of the layers above transport, snapshots included.
pub const MESSAGE_SIZE_MAX: usize = 4 << 20;
/// Bytes of one payload that is broadcast.
pub const PAYLOAD_SIZE_MAX: usize = 1 << 20;
/// Bytes of a sealed heartbeat with header and tag, so that no MTU can stop it.
pub const HEARTBEAT_SIZE_MAX: usize = 1_200;
/// Bytes of the report that the layers above put into each heartbeat.
pub const REPORT_SIZE_MAX: usize = 960;
/// Bytes of one UDP datagram with header and tag.
pub const DATAGRAM_SIZE_MAX: usize = 1_200;
/// Bytes of the name of a cluster, node, network, service or resource.
pub const NAME_SIZE_MAX: usize = 63;

const _: () = assert!(REPORT_SIZE_MAX + 160 < HEARTBEAT_SIZE_MAX);
const _: () = assert!(PAYLOAD_SIZE_MAX < MESSAGE_SIZE_MAX);
const _: () = assert!(NODES_MAX <= 128, "NodeSet has 128 bits");
