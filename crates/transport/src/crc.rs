//! The checksum of media that damage what they carry: CRC-32 of IEEE 802.3, reflected, as in Ethernet,
//! gzip and zlib (ITU-T V.42 section 8.1.1.6.2 writes it out).
//!
//! It tells noise from data and nothing else: whoever can write to a line or a disk can also write
//! a checksum. Frames are authenticated by their seal. It finds every burst of errors up to 32 bits
//! and lets one in four thousand million of longer ones pass, which then fail the seal.

/// Feeds one byte of value `index` through eight steps of the reflected polynomial.
const TABLE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 0 { value >> 1 } else { (value >> 1) ^ POLYNOMIAL };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// The checksum of `bytes`; that of no bytes is zero.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let step = |value: u32, &byte: &u8| (value >> 8) ^ TABLE[(value as u8 ^ byte) as usize];
    !bytes.iter().fold(u32::MAX, step)
}
