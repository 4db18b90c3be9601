//! The checksum of media that damage what they carry: CRC-32 of IEEE 802.3, reflected, as in Ethernet,
//! gzip and zlib (ITU-T V.42 section 8.1.1.6.2 writes it out).
//!
//! It tells noise from data and nothing else: whoever can write to a line or a disk can also write
//! a checksum. Frames are authenticated by their seal. It finds every burst of errors up to 32 bits
//! and lets one in four thousand million of longer ones pass, which then fail the seal.

/// Bytes taken at once.
const SLICES: usize = 8;

/// `TABLES[0]` feeds one byte of value `index` through eight steps of the reflected polynomial;
/// each further table one zero byte more. So eight bytes are looked up side by side (slicing by
/// eight: Kounavis and Berry, IEEE ISCC 2005), which matters for blocks of a disk.
const TABLES: [[u32; 256]; SLICES] = {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut tables = [[0; 256]; SLICES];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 0 { value >> 1 } else { (value >> 1) ^ POLYNOMIAL };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        let mut index = 0;
        while index < 256 {
            let before = tables[slice - 1][index];
            tables[slice][index] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            index += 1;
        }
        slice += 1;
    }
    tables
};

/// The checksum of `bytes`; that of no bytes is zero.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<SLICES>();
    let eight = |value: u32, bytes: &[u8; SLICES]| {
        let mixed = u64::from_le_bytes(*bytes) ^ u64::from(value);
        let looked_up = mixed.to_le_bytes().into_iter().zip(TABLES.iter().rev());
        looked_up.fold(0, |sum, (byte, table)| sum ^ table[usize::from(byte)])
    };
    let one = |value: u32, &byte: &u8| (value >> 8) ^ TABLES[0][usize::from(value as u8 ^ byte)];
    !rest.iter().fold(eights.iter().fold(u32::MAX, eight), one)
}

#[cfg(test)]
mod tests;
