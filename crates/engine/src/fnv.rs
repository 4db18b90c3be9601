//! FNV-1a, 64 bits (draft-eastlake-fnv): tells two states apart that ought to be the same. Against
//! accidents, not against enemies: members trust each other.

/// The hash of these bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
